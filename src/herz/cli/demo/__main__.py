"""`python -m herz.cli.demo` is `herz demo`."""

from __future__ import annotations

import sys

from herz.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
