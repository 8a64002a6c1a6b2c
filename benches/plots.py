"""Plots as SVG: lines over a logarithmic axis, readable on light and dark pages."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from pathlib import Path

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 36, 46
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#0e7490", "#737373")

Line = Sequence[tuple[float, float]]


def plot(path: Path, title: str, across: str, up: str, lines: Mapping[str, Line]) -> None:
    """Draw lines of points.

    Args:
        path: The file to write.
        title: What stands above.
        across: What the horizontal axis is, with its unit; it is logarithmic.
        up: What the vertical axis is, with its unit; it starts at 0.
        lines: The points by name, each from left to right.
    """
    points = [point for line in lines.values() for point in line]
    left, right = (f(x for x, _ in points) for f in (min, max))
    top = nice(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        span = log10(right / left) or 1.0
        across_part = log10(x / left) / span
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across_part * width, TOP + (1 - y / top) * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        x, y = place(left, value)
        parts.append(f'<path d="M{x:.0f} {y:.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted({x for x, _ in points}):
        x, y = place(value, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.0f}" text-anchor="middle">{value:,g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>'
    )
    centre = (TOP + HEIGHT - BOTTOM) / 2
    turn = f'transform="rotate(-90 16 {centre})"'
    parts.append(f'<text x="16" y="{centre}" text-anchor="middle" {turn}>{escape(up)}</text>')
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        placed = [place(x, y) for x, y in line]
        path_of = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        parts.append(f'<path d="{path_of}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        y = TOP + 14 + 18 * index
        x = WIDTH - RIGHT + 14
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{y}">{escape(name)}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def nice(value: float) -> float:
    """Return the least of 1, 2, 4, 5, 8 times a power of ten that is not below a value."""
    power = 10.0 ** int(log10(value) // 1) if value > 0 else 1.0
    return next(times * power for times in (1, 2, 4, 5, 8, 10) if times * power >= value)
