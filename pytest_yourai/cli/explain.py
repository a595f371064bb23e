"""`yourai explain`: what a message means, and what to do about it."""

from __future__ import annotations

import argparse
import shutil
import sys

from pytest_yourai.core.errors import OptionError
from pytest_yourai.report.explain import PAGE, find, lines
from pytest_yourai.report.explanations import read_sections
from pytest_yourai.report.safe_stream import close_stream, print_lines, safe_stream

_NOTHING_STATUS = 1

_MOST_CHARACTERS = 1_000_000
"""Of a log, its end."""

_WIDEST = 100


def explain(given: argparse.Namespace) -> int:
    """Print the explanations of the message; 1 if nothing is like it."""
    text = " ".join(given.message)
    if text in ("", "-"):
        text = _from_stdin(asked=text == "-")
    found = find(text[-_MOST_CHARACTERS:], read_sections())
    if not found.entries:
        print_lines(
            sys.stderr,
            f"yourai explain: nothing in {PAGE} is like this: give the last line of the error "
            "alone, or look for a word of it there",
        )
        return _NOTHING_STATUS
    stream = safe_stream(sys.stdout)
    print_lines(stream, *lines(found, min(shutil.get_terminal_size().columns, _WIDEST)))
    close_stream(sys.stdout)
    return 0


def _from_stdin(*, asked: bool) -> str:
    if sys.stdin is None or (sys.stdin.isatty() and not asked):
        raise OptionError("name a message, in quotes, or pipe a log into it")
    text = sys.stdin.buffer.read().decode(errors="replace")
    if not text.strip():
        raise OptionError("stdin was empty: name a message, in quotes, or pipe a log into it")
    return text
