"""`yourai report`: profiles that were written before, as one HTML page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_yourai.cli.parser import USAGE_STATUS, print_error
from pytest_yourai.errors import InputError, OptionError
from pytest_yourai.report.lasting_stream import lasting, settle
from pytest_yourai.report.page.page import Content, check_plotly, write_page
from pytest_yourai.report.page.sources import Sources, read_sources
from pytest_yourai.store.atomic import check_writable

_PROGRAM = "yourai report"
_OUTPUT = "--output"


def report(given: argparse.Namespace) -> int:
    """Write the page that `given` asks for; the exit status."""
    try:
        sources = _written(given.profiles, given.output)
    except InputError as problem:
        print_error(_PROGRAM, str(problem))
        return USAGE_STATUS
    if sources.left_out:
        names = ", ".join(each.name for each in sources.left_out)
        print_error(_PROGRAM, f"left out, no profiles: {names}")
    print(f"Page: {given.output}", file=lasting(sys.stdout))
    settle(sys.stdout)
    return 0


def _written(profiles: Iterable[Path], output: Path) -> Sources:
    check_plotly()
    check_writable(output, _OUTPUT)
    sources = read_sources(profiles)
    if output.resolve() in {each.resolve() for each in sources.files}:
        raise OptionError(f"{_OUTPUT}: {output} is read for the page: name another file")
    write_page(output, Content(sources.profiles, sources.left_out), _OUTPUT)
    return sources
