"""Rows of training data that mlx-lm cannot read: found before it tries, and told with their line.

mlx-lm takes the format of a file from its first row, and fails at the first row that differs with
an exception that names neither file nor line.
"""

from __future__ import annotations

import enum
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.errors import DataError
from pytest_yourai.core.paths import given_path, is_folder

_LONGEST_REASON = 160

_UNDECODED = re.compile("[\udc80-\udcff]")
"""What Python's `surrogateescape` makes of bytes that are no UTF-8."""

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


class RowFormat(enum.Enum):
    """mlx-lm's formats, in the order in which it looks for their keys."""

    COMPLETIONS = ("prompt", "completion")
    CHAT = ("messages",)
    TEXT = ("text",)

    @classmethod
    def of(cls, row: dict[str, Any]) -> RowFormat | None:
        """The format that mlx-lm takes `row` for; None where it knows none."""
        return next((each for each in cls if all(key in row for key in each.value)), None)

    def __str__(self) -> str:
        return " and ".join(self.value)


def data_files(folder: Path) -> list[Path]:
    """What mlx-lm reads in `folder`, as far as it is there."""
    return [folder / f"{name}.jsonl" for name in ("train", "valid", "test")]


def check_folder(folder: Path) -> None:
    """DataError where mlx-lm would fail at a file in `folder`."""
    for path in data_files(folder):
        if path.exists():
            check_file(path)


def check_file(path: Path) -> None:
    """DataError that names the first row that mlx-lm would fail at, and says how many there are."""
    if not path.is_file():
        raise DataError(f"--yourai-data: {path} is no file: put one in its place, or remove it")
    first, bad = None, 0
    try:
        for number, problem in _problems(path):
            first = first or (number, problem)
            bad += 1
    except OSError as refused:
        raise DataError(
            f"--yourai-data: {path} cannot be read: {refused.strerror}; make it readable, or "
            "remove it"
        ) from None
    if first is not None:
        number, reason = first
        others = "" if bad == 1 else f" (the first of {bad:,} bad lines)"
        raise DataError(bad_row(f"{path}:{number}", f"{shortened(reason)}{others}", "line"))


def bad_row(place: str, reason: str, what: Literal["line", "row"]) -> str:
    """What is to be said of the row at `place`."""
    return f"--yourai-data: {place}: {reason}: fix or remove the {what}"


def shortened(text: str) -> str:
    """One line of `text`, and not too much of it."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} …"


def _problems(path: Path) -> Iterator[tuple[int, str]]:
    """Number of the line and what is wrong, for each row that is not as mlx-lm needs it.

    Lines end where they do for mlx-lm, which opens the file as text.
    """
    row_format: RowFormat | None = None
    number = 0
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            row, problem = _parsed(line)
            if row is not None and row_format is None:
                row_format = RowFormat.of(row)
                if row_format is None:
                    problem = f"no data format of mlx-lm: a row needs {_formats()}"
            if row is not None and row_format is not None:
                problem = row_problem(row, row_format)
            if problem is not None:
                yield number, problem
    if number == 0:
        raise DataError(f"--yourai-data: {path} is empty: fill it or remove it")


def _parsed(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """The row in `line`, or what is wrong with it."""
    if not line.strip():
        return None, "the line is blank"
    if _UNDECODED.search(line):
        return None, "it is not UTF-8"
    if line.startswith("\ufeff"):
        return None, "it begins with a byte order mark"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        return None, f"it is not valid JSON ({problem})"
    if not isinstance(row, dict):
        return None, f"it must be a JSON object, not {_kind(row)}"
    return row, None


def row_problem(row: dict[str, Any], row_format: RowFormat) -> str | None:
    """What of `row` does not suit the format of the rows before it; None where all does."""
    for key in row_format.value:
        if key not in row:
            return f"it has no {key}, which the first row has"
    tools = row.get("tools")
    if row_format is not RowFormat.TEXT and not isinstance(tools, list | None):
        return f"tools must be a list, not {_kind(tools)}"
    if row_format is RowFormat.CHAT:
        return _messages_problem(row["messages"])
    for key in row_format.value:
        if not isinstance(row[key], str):
            return f"{key} must be a string, not {_kind(row[key])}"
    return None


def _messages_problem(messages: Any) -> str | None:
    if not isinstance(messages, list):
        return f"messages must be a list, not {_kind(messages)}"
    if not messages:
        return "messages is an empty list"
    problems = (_message_problem(each) for each in messages)
    return next(
        (f"messages[{place}] {problem}" for place, problem in enumerate(problems) if problem), None
    )


def _message_problem(message: Any) -> str | None:
    if not isinstance(message, dict):
        return f"must be an object, not {_kind(message)}"
    if not isinstance(message.get("role"), str):
        return "needs a role, which is a string"
    content = message.get("content")
    # A message that calls tools may say nothing; some templates take a list of parts.
    if content is None and message.get("tool_calls"):
        return None
    if not isinstance(content, str | list):
        return "needs content, which is a string"
    return None


def _kind(value: Any) -> str:
    return _KINDS.get(type(value)) or json.dumps(value)


def _formats() -> str:
    *others, last = map(str, RowFormat)
    return f"{', '.join(others)} or {last}"


def data_source(text: str, folder: Path) -> str:
    """A folder as an absolute path, since the worker may start elsewhere; else a data set's name.

    A path that cannot be a data set's name must exist.
    """
    path = given_path(text, folder)
    if is_folder(path):
        if not (path / "train.jsonl").is_file():
            raise ValueError("the folder has no train.jsonl")
        if (path / "train.jsonl").stat().st_size == 0:
            raise ValueError("its train.jsonl is empty")
        return str(path)
    if os.path.exists(path):  # noqa: PTH110 - Path's own raises where a name is too long
        raise ValueError("it is a file: name its folder, with a train.jsonl in it")
    if text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise ValueError("there is no such folder")
    return text
