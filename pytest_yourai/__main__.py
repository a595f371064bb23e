"""`python -m pytest_yourai` is the `yourai` command."""

from __future__ import annotations

import sys

from pytest_yourai.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
