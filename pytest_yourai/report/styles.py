"""Colour of lines: what a line is about is kept with it, and whoever prints it knows of colours."""

from __future__ import annotations

import os
from enum import Enum
from typing import IO, Self


class Style(Enum):
    """What a text is about; the value is its code of Select Graphic Rendition."""

    GOOD = "32"
    BAD = "31"
    ANSWER = "1"
    FAINT = "2"


class StyledLine(str):
    """A line in a style, or with one word in it; to all who do not print it a plain string."""

    __slots__ = ("style", "word")

    style: Style
    word: str

    def __new__(cls, text: str, style: Style, word: str = "") -> Self:
        """Style the whole `text`, or each `word` in it."""
        line = super().__new__(cls, text)
        line.style, line.word = style, word
        return line


def faint(text: str) -> StyledLine:
    """What is beside the point."""
    return StyledLine(text, Style.FAINT)


def marked(text: str, *, is_good: bool) -> StyledLine:
    """A line with its mark, ✓ or ✗, in colour."""
    return StyledLine(text, Style.GOOD, "✓") if is_good else StyledLine(text, Style.BAD, "✗")


def like(line: str, text: str) -> str:
    """`text` in the style of `line`, if it has one."""
    return StyledLine(text, line.style, line.word) if isinstance(line, StyledLine) else text


def painted(line: str, text: str) -> str:
    """`text`, which `line` has become for a screen, with the codes of its style."""
    if not isinstance(line, StyledLine) or not text:
        return text
    code = line.style.value
    word = line.word or text
    return text.replace(word, f"\x1b[{code}m{word}\x1b[0m")


def has_color(stream: IO[str]) -> bool:
    """True for a terminal, unless NO_COLOR is set; FORCE_COLOR makes it true anywhere."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
