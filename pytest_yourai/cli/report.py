"""`yourai report`: profiles as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_yourai.cli.parser import print_error
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.files import check_writable
from pytest_yourai.core.paths import without_links
from pytest_yourai.report.page.render import check_page_name, read_sources, write_page
from pytest_yourai.report.safe_stream import close_stream, print_lines

_OUTPUT = "--output"


def report(given: argparse.Namespace) -> int:
    """Write a page of the profiles."""
    output: Path = given.output
    check_writable(output, _OUTPUT)
    content = read_sources(given.profiles)
    if without_links(output) in {without_links(each) for each in content.files}:
        raise OptionError(f"{_OUTPUT}: {output} is read for the page: name another file")
    check_page_name(output, _OUTPUT)
    kept = write_page(output, content, _OUTPUT)
    if content.left_out:
        names = ", ".join(each.name for each in content.left_out)
        print_error("yourai report", f"left out, no profiles: {names}")
    print_lines(sys.stdout, f"Page: {output}")
    if kept is not None:
        print_lines(sys.stdout, f"Kept as {kept}: what was there before")
    close_stream(sys.stdout)
    return 0
