#!/usr/bin/env python3
"""Runs a storage server; see --help."""

import sys

import _launch

if __name__ == "__main__":
    sys.exit(_launch.run("server"))
