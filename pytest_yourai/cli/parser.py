"""argparse with errors of one sentence, in which flags are as the user wrote them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pytest_yourai.core.sanitize import printable, screen_line
from pytest_yourai.plan.short_commands import in_own_words
from pytest_yourai.report.safe_stream import print_lines

USAGE_STATUS = 2
"""The exit status for a mistake of the user."""

INTERRUPTED_STATUS = 130


class Parser(argparse.ArgumentParser):
    """Accepts no abbreviations: a new flag could change their meaning."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    @property
    def flags(self) -> list[str]:
        """Those that it takes, each as it is written."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Print the mistake, and exit with status 2."""
        # Of a flag with several spellings the first is named.
        print_error(self.prog, re.sub(r"^argument (-[^/: ]+)(/[^: ]+)?", r"\1", message))
        sys.exit(USAGE_STATUS)


def print_error(program: str, message: str) -> None:
    """Print one line on stderr."""
    # Cut when it has no secrets left: a part of one would not be recognized.
    print_lines(sys.stderr, f"{program}: {printable(screen_line(in_own_words(message)))}")


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse` as a `type` of argparse that keeps the reason in the message."""

    def parse_argument(text: str) -> Any:
        try:
            return parse(text.strip())
        except ValueError as problem:
            raise argparse.ArgumentTypeError(f"{text!r} is not valid: {problem}") from None

    return parse_argument
