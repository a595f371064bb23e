"""`yourai report`: profiles, or a folder of them, as one HTML page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_yourai.cli.parser import USAGE_STATUS, print_error
from pytest_yourai.errors import InputError, OptionError
from pytest_yourai.paths import given_path

REPORT_HELP = "write profiles, or a folder of them, as an HTML page"

_PROGRAM = "yourai report"
_OUTPUT = "--output"


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` what it reads and what it writes."""
    parser.add_argument(
        "profiles",
        metavar="PROFILE",
        nargs="+",
        type=_path,
        help="a profile, benchmark results, or a folder of them, which is shown as a history",
    )
    parser.add_argument(
        "-o",
        _OUTPUT,
        metavar="FILE",
        required=True,
        type=_path,
        help="where the page goes, as FILE.html",
    )


def _path(text: str) -> Path:
    return given_path(text, Path())


def report(given: argparse.Namespace) -> int:
    """Write the page that `given` asks for; the exit status."""
    from pytest_yourai.report.page.page import check_plotly, write_page  # noqa: PLC0415
    from pytest_yourai.report.page.sources import read_sources  # noqa: PLC0415
    from pytest_yourai.store.atomic import check_writable  # noqa: PLC0415

    try:
        check_plotly(_PROGRAM)
        check_writable(given.output, _OUTPUT)
        sources = read_sources(given.profiles)
        _check_not_read(given.output, sources.files)
        write_page(given.output, sources.shown, _OUTPUT, sources.left_out)
    except InputError as problem:
        print_error(_PROGRAM, str(problem))
        return USAGE_STATUS
    if sources.left_out:
        names = ", ".join(each.name for each in sources.left_out)
        print(f"{_PROGRAM}: left out, no profiles: {names}", file=sys.stderr)
    print(f"Page: {given.output}")
    return 0


def _check_not_read(output: Path, files: Iterable[Path]) -> None:
    if output.resolve() in {each.resolve() for each in files}:
        raise OptionError(f"{_OUTPUT}: {output} is read for the page: name another file")
