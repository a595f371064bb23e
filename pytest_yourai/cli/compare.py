"""`yourai compare`: profiles that were written before, side by side."""

from __future__ import annotations

import argparse
import shutil
import sys

from pytest_yourai.cli.parser import USAGE_STATUS, print_error
from pytest_yourai.compared import Compared
from pytest_yourai.comparison.gate import Threshold, make_gate, parse_fail_on
from pytest_yourai.errors import InputError, OptionError
from pytest_yourai.report.lasting_stream import lasting, settle
from pytest_yourai.store.stored_profile import read_profiles

_REGRESSION_STATUS = 1


def compare(given: argparse.Namespace) -> int:
    """Compare each profile with the first one; the exit status, 1 for a regression."""
    try:
        found = _compared(given)
    except InputError as problem:
        print_error("yourai compare", str(problem))
        return USAGE_STATUS
    stream = lasting(sys.stdout)
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    for each in found:
        print(*each.lines(width), "", sep="\n", file=stream)
    settle(sys.stdout)
    return _REGRESSION_STATUS if any(each.fails for each in found) else 0


def _compared(given: argparse.Namespace) -> list[Compared]:
    """Each profile but the first, beside the first."""
    if len(given.profiles) == 1:
        raise OptionError("name at least two profiles, the older one first")
    gate = make_gate([_thresholds(text) for text in given.fail_on])
    base, *others = [read_profiles(path) for path in given.profiles]
    return [Compared.of(base, other, gate) for other in others]


def _thresholds(text: str) -> tuple[Threshold, ...] | None:
    try:
        return parse_fail_on(text.strip())
    except ValueError as problem:
        raise OptionError(f"--fail-on: {text!r} will not do: {problem}") from None
