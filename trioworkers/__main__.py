"""`python -m trioworkers`: the same as the command `trioworkers`."""

from __future__ import annotations

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
