#!/usr/bin/env python3
"""Speaks to a ring; see --help."""

import sys

import _launch

if __name__ == "__main__":
    sys.exit(_launch.run("client"))
