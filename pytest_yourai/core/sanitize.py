"""What makes text safe to keep, and safe to show: no secrets, control characters or commands."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.vocabulary import OWN_WORDS

_TERMINAL_CODES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"  # title
    r"|\x1b[ -/]*[0-~]"
)
"""The sequences of ECMA-48; the text between two of a link stays."""

_CI_COMMANDS = re.compile(
    r"(?<!\S):(?=:[a-z][\w-]*(?:\s|::))"
    r"|:(?=:(?:error|warning|notice|debug|group|endgroup|echo|add-mask|stop-commands|set-output"
    r"|set-env|save-state|add-path|add-matcher|remove-matcher)(?:\s|::))"
    r"|#(?=#\w*\[)",
    re.IGNORECASE,
)
"""Where GitHub, Azure and TeamCity would see `::command::`, `##[command]` or `##vso[command]`.

GitHub takes the first form at the beginning of a line alone, where wrapping may put it.
"""

_MOST_CHARACTERS = 2000


def printable(text: str) -> str:
    """`text` in one line: white space as spaces, other unprintable characters as question marks.

    Control characters and those that change the direction of text are not printable; colours and
    other sequences for a terminal leave nothing. Text of more than 2000 characters is cut.
    """
    shown = _in_one_line(text[: _MOST_CHARACTERS + 1])
    cut = len(text) > _MOST_CHARACTERS
    return f"{shown[:_MOST_CHARACTERS]}…" if cut else shown


def without_controls(text: str) -> str:
    """`text` of several lines, `printable` but for the ends of its lines and tabs."""
    text = _TERMINAL_CODES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(each if each in "\n\t" or each.isprintable() else _shown(each) for each in text)


def without_commands(text: str) -> str:
    """`text` with a space in whatever the log of a CI service would take for a command to it."""
    return _CI_COMMANDS.sub(lambda match: f"{match[0]} ", text)


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON in which a log has no commands; readers see what was there."""
    text = json.dumps(value, indent=indent)
    return _CI_COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def screen_line(text: str) -> str:
    """One line of the output of this process: all of them are made here."""
    return without_commands(redactor()(_in_one_line(text)))


def screen_text(text: str) -> str:
    """The same for text of several lines."""
    return without_commands(redactor()(without_controls(text)))


def _in_one_line(text: str) -> str:
    if text.isprintable():
        return text
    text = _TERMINAL_CODES.sub("", text)
    return "".join(each if each.isprintable() else _shown(each) for each in text)


def _shown(unprintable: str) -> str:
    return " " if unprintable.isspace() else "?"


def is_plain_json(text: str) -> bool:
    """True if it is plain to see that `all_printable` changes nothing of the JSON in `text`.

    It has no escapes, nothing between two quotes that would be cut, and white space of JSON alone.
    """
    return (
        "\\" not in text
        and max(map(len, text.split('"'))) <= _MOST_CHARACTERS
        and text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    )


def all_printable(value: Any) -> Any:
    """A JSON value with every text in it, keys too, made `printable`."""
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [all_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def without_secrets(value: Any) -> Any:
    """A JSON value with every text in it redacted; numbers and our own words stay as they are."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    is_text = isinstance(value, str) and value not in OWN_WORDS
    return redactor()(value) if is_text else value


def clean(value: Any) -> Any:
    """A JSON value without secrets, and with None for floats that are not finite."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    is_number = not isinstance(value, float) or math.isfinite(value)
    return without_secrets(value) if is_number else None
