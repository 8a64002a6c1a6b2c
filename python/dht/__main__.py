"""`python -m dht` is the command `dht`."""

import sys

from dht.cli.dht import main

if __name__ == "__main__":
    sys.exit(main())
