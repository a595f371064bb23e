"""`yourai show`: the rows of profiles on stdout, for people, spreadsheets and programs."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from pytest_yourai.cli.parser import USAGE_STATUS, print_error
from pytest_yourai.errors import RecordingError
from pytest_yourai.report.lasting_stream import settle

SHOW_HELP = "print the rows of profiles, and nothing else"

_FORMATS = ("table", "md", "json", "jsonl", "csv")


def add_show_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` what the command takes."""
    parser.add_argument(
        "paths",
        metavar="PROFILE",
        type=Path,
        nargs="+",
        help="a profile or benchmark results; of several each row names its own",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default=_FORMATS[0],
        help="table: aligned text for a terminal, * marks the optimum; md: Markdown for GitHub, as "
        "a sweep writes it; json, jsonl and csv: every key of a profile's rows "
        "(default: table)",
    )


def show(given: argparse.Namespace) -> int:
    """Print what `given` asks for; the exit status."""
    # Imported here: --help must not wait for pydantic.
    from pytest_yourai.report.formats import formatted  # noqa: PLC0415

    try:
        text = formatted(given.paths, given.format)
    except RecordingError as problem:
        print_error("yourai show", str(problem))
        return USAGE_STATUS
    return _write(text)


def _write(text: str) -> int:
    """Whoever stops reading has what they want; a disk that is full has not."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return 0
    except OSError as problem:
        print_error("yourai show", f"stdout cannot be written: {problem.strerror}; make room")
        return USAGE_STATUS
    finally:
        settle(sys.stdout)
    return 0
