#!/usr/bin/env python3
"""Runs the view leader; see --help."""

import sys

import _launch

if __name__ == "__main__":
    sys.exit(_launch.run("viewleader"))
