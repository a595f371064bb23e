"""The flags of the commands that read what was measured before. Light: --help imports them."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_yourai.flags import FAIL_ON_HELP

COMPARE_HELP = "put profiles side by side, and fail where one got worse than the first"
REPORT_HELP = "write profiles, or a folder of them, as an HTML page"
SHOW_HELP = "print the rows of profiles, and nothing else"

FORMATS = ("table", "md", "json", "jsonl", "csv")


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


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles",
        metavar="PROFILE",
        type=Path,
        nargs="+",
        help="a file, or a folder of them, which is shown as a history",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="where the page goes"
    )


def add_show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles",
        metavar="PROFILE",
        type=Path,
        nargs="+",
        help="a profile or benchmark results; of several each row names its own",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="table: aligned text for a terminal, * marks the optimum; md: Markdown for GitHub, as "
        "a sweep writes it; json, jsonl and csv: every key of a profile's rows "
        f"(default: {FORMATS[0]})",
    )
