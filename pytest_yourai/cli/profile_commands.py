"""`yourai compare`, `report` and `show`: profiles as tables, text and a page.

Each returns the exit status; InputError for whatever cannot be read or written.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import IO

from pytest_yourai.cli.parser import print_error
from pytest_yourai.core.errors import OptionError, OutputError
from pytest_yourai.core.files import check_writable
from pytest_yourai.core.paths import without_links
from pytest_yourai.report.comparison_lines import baseline_lines
from pytest_yourai.report.export import formatted
from pytest_yourai.report.page.render import check_page_name, read_sources, write_page
from pytest_yourai.report.safe_stream import close_stream, print_lines, safe_stream
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.compare.thresholds import Threshold, make_thresholds, parse_fail_on
from pytest_yourai.store.stored_profile import read_profiles

_REGRESSION_STATUS = 1


def compare(given: argparse.Namespace) -> int:
    """Compare each profile with the first one; 1 for a regression."""
    if len(given.profiles) == 1:
        raise OptionError("name at least two profiles, the older one first")
    thresholds = make_thresholds([_thresholds(text) for text in given.fail_on])
    base, *others = [read_profiles(path) for path in given.profiles]
    found = [BaselineComparison.of(base, other, thresholds) for other in others]
    stream = safe_stream(sys.stdout)
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    for each in found:
        print_lines(stream, *baseline_lines(each, width), "")
    close_stream(sys.stdout)
    return _REGRESSION_STATUS if any(each.fails for each in found) else 0


def _thresholds(text: str) -> tuple[Threshold, ...] | None:
    try:
        return parse_fail_on(text.strip())
    except ValueError as problem:
        raise OptionError(f"--fail-on: {text!r} is not valid: {problem}") from None


_OUTPUT = "--output"


def report(given: argparse.Namespace) -> int:
    """Write a page of the profiles."""
    output: Path = given.output
    check_writable(output, _OUTPUT)
    content = read_sources(given.profiles)
    if without_links(output) in {without_links(each) for each in content.files}:
        raise OptionError(f"{_OUTPUT}: {output} is read for the page: name another file")
    check_page_name(output, _OUTPUT)
    write_page(output, content, _OUTPUT)
    if content.left_out:
        names = ", ".join(each.name for each in content.left_out)
        print_error("yourai report", f"left out, no profiles: {names}")
    print_lines(sys.stdout, f"Page: {output}")
    close_stream(sys.stdout)
    return 0


def show(given: argparse.Namespace) -> int:
    """Print the rows of the profiles; a reader may close the pipe early."""
    text = formatted(given.profiles, given.format)
    stream: IO[str] | None = sys.stdout
    if stream is None:
        return 0
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        return 0
    except OSError as problem:
        raise OutputError(f"stdout cannot be written: {problem.strerror}; make room") from None
    finally:
        close_stream(stream)
    return 0
