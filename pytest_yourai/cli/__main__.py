"""`python -m pytest_yourai.cli` is the `yourai` command."""

import sys

from pytest_yourai.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
