"""`yourai compare`: profiles side by side, in text."""

from __future__ import annotations

import argparse
import shutil
import sys

from pytest_yourai.core.errors import OptionError
from pytest_yourai.report.comparison_lines import baseline_lines
from pytest_yourai.report.safe_stream import close_stream, print_lines, safe_stream
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.compare.thresholds import Threshold, make_thresholds, parse_fail_on
from pytest_yourai.store.profile_reader import read_profiles

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
