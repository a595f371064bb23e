"""The flags of all commands but `train` and those of pytest."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_yourai.core.config import Objective
from pytest_yourai.plan.flags import FAIL_ON_HELP

FORMATS = ("table", "md", "json", "jsonl", "csv")

FITS_FORMATS = ("table", "md", "csv", "json", "html")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(parser, "the first is the older one")
    parser.add_argument(
        "--fail-on",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help=FAIL_ON_HELP.replace("%", "%%"),
    )


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(parser, "a file, or a folder of them, shown as a history")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the page to write"
    )


def add_show_flags(parser: argparse.ArgumentParser) -> None:
    _add_profiles(
        parser,
        "a profile or benchmark results; with several, each row names its own (default: those in "
        "the current folder, as sweeps name them)",
        least="*",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="table: aligned text for a terminal, * marks what nothing beats; md: Markdown for "
        "GitHub, as a sweep writes it; json, jsonl and csv: every key of a profile's rows "
        f"(default: {FORMATS[0]})",
    )


def add_fits_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        metavar="PROFILE|FOLDER",
        type=Path,
        nargs="+",
        help="a profile, benchmark results, a shared file, or a folder of them",
    )
    parser.add_argument(
        "--format",
        choices=FITS_FORMATS,
        default=FITS_FORMATS[0],
        help="table: text for a terminal; md: Markdown for GitHub; csv and json: a row a cell; "
        "html: a page that is sorted and filtered "
        f"(default: {FITS_FORMATS[0]})",
    )
    parser.add_argument(
        "--objective",
        choices=[each.value for each in Objective],
        default=Objective.SCORE.value,
        help="which of the configurations that were measured and fit a cell shows (default: "
        f"{Objective.SCORE.value})",
    )


def add_share_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profile", metavar="PROFILE", type=Path, help="a profile, or benchmark results"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the file to write, which must not be there (default: a name made of model and "
        "machine, in the current folder)",
    )


CHECK_FORMATS = ("lines", "json")


def add_check_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        metavar="FILE|FOLDER",
        type=Path,
        nargs="+",
        help="a file that yourai share wrote, or a folder of them",
    )
    parser.add_argument(
        "--format",
        choices=CHECK_FORMATS,
        default=CHECK_FORMATS[0],
        help=f"lines: one for each fault; json: for programs (default: {CHECK_FORMATS[0]})",
    )


def add_verify_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="file for all numbers (default: none)"
    )


def add_explain_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "message",
        metavar="MESSAGE",
        nargs="*",
        help="what was printed, in quotes: an outcome, a line, or a whole traceback (default: "
        "what is piped into it)",
    )


SHELLS = ("bash", "zsh", "fish")


def add_completion_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def _add_profiles(parser: argparse.ArgumentParser, text: str, least: str = "+") -> None:
    parser.add_argument("profiles", metavar="PROFILE", type=Path, nargs=least, help=text)
