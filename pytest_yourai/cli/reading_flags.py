"""The flags of the commands that read what was measured before. Light: --help imports them."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_yourai.flags import FAIL_ON_HELP

COMPARE_HELP = "put profiles side by side, and fail where one got worse than the first"


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles", metavar="PROFILE", type=Path, nargs="+", help="the first is the older one"
    )
    parser.add_argument(
        "--fail-on",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help=FAIL_ON_HELP.replace("%", "%%"),
    )
