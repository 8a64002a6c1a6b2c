"""The long form: `python -m chaos --seconds 300 --seed 1`."""

from __future__ import annotations

import argparse
import sys
import time

from chaos.run import KINDS, run


def main() -> int:
    """Runs the kinds that were asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind")
    parser.add_argument("--rounds", type=int, default=0, help="at least, for each kind")
    parser.add_argument("--seed", type=int, default=None, help="decides what is done")
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    args = parser.parse_args()
    seed = int(time.time()) if args.seed is None else args.seed
    kinds = KINDS if args.kind == "all" else [args.kind]
    episodes = operations = 0
    for kind in kinds:
        print(f"{kind}, seed {seed}:", flush=True)
        try:
            summary = run(
                kind,
                seed,
                seconds=args.seconds,
                once=args.rounds,
                tell=lambda line: print(line, flush=True),
            )
        except AssertionError:
            return 1
        print(summary, flush=True)
        episodes += sum(summary.episodes.values())
        operations += sum(summary.operations.values())
    print(f"{len(kinds)} kinds, {episodes} episodes, {operations} operations: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
