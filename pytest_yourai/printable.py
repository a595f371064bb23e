"""Text of files and programs, made fit to be shown: one line, nothing a terminal would obey."""

from __future__ import annotations

from typing import Any

_MOST_CHARACTERS = 2000


def printable(text: str) -> str:
    """`text` in one line: white space as spaces, other unprintable characters as question marks.

    Control characters and those that change the direction of text are not printable. What is too
    long to be read is cut.
    """
    shown = "".join(
        each if each.isprintable() else " " if each.isspace() else "?"
        for each in text[:_MOST_CHARACTERS]
    )
    return f"{shown}…" if len(text) > _MOST_CHARACTERS else shown


def all_printable(value: Any) -> Any:
    """A JSON value with every text in it, keys too, made `printable`."""
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [all_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value
