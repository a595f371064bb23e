"""argparse with errors of one sentence, in which flags are named as the user wrote them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pytest_yourai.core.sanitize import printable, redactor
from pytest_yourai.report.safe_stream import safe_stream

USAGE_STATUS = 2
"""What the process ends with where it was asked for something that cannot be."""

INTERRUPTED_STATUS = 130


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations: they would change their meaning with the next flag."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        print_error(self.prog, message.removeprefix("argument "))
        sys.exit(USAGE_STATUS)


def print_error(program: str, message: str) -> None:
    """On stderr, in one line, without secrets."""
    print(
        f"{program}: {redactor()(printable(in_own_words(message)))}", file=safe_stream(sys.stderr)
    )


def in_own_words(text: str) -> str:
    """`text` with the flags of pytest named as the commands take them."""
    return text.replace("--yourai-benchmark", "yourai benchmark").replace("--yourai-", "--")


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse` as argparse's `type`, its reason in the message."""

    def parse_argument(text: str) -> Any:
        try:
            return parse(text.strip())
        except ValueError as problem:
            raise argparse.ArgumentTypeError(f"{text!r} is not valid: {problem}") from None

    return parse_argument
