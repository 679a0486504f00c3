"""`python -m odradek.cli`, as the command `odradek`."""

import sys

from odradek.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
