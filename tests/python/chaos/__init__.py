"""Real processes under faults: a proxy between all of them, a nemesis, a workload, and a verdict.

`python -m chaos --help` runs it for as long as one likes; `test_chaos.py` runs a slice of it.
"""
