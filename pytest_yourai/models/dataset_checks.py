"""Rows of training data that mlx-lm cannot read: found before it tries, with their line.

mlx-lm takes the format of a file from its first row, and fails at the first row that differs with
an exception that names neither file nor line.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.errors import DataError

_LONGEST_REASON = 160

_UNDECODED = re.compile("[\udc80-\udcff]")
"""Characters that `surrogateescape` decodes invalid UTF-8 to."""

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}

_EXPECTED = {"string_type": "a string", "list_type": "a list", "model_type": "an object"}
"""Types of pydantic's errors, in JSON's words."""


class _Schema(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)


class _Message(_Schema):
    role: str
    content: Any = None
    tool_calls: Any = None

    @pydantic.model_validator(mode="after")
    def _has_content(self) -> _Message:
        # A message that calls tools may have no text; some templates take a list of parts.
        is_tool_call = self.content is None and self.tool_calls
        if not is_tool_call and not isinstance(self.content, str | list):
            raise ValueError("needs content, which is a string")
        return self


class _Completion(_Schema):
    prompt: str
    completion: str
    tools: list[Any] | None = None


class _Chat(_Schema):
    messages: Annotated[list[_Message], pydantic.Field(min_length=1)]
    tools: list[Any] | None = None


class _Text(_Schema):
    text: str


class RowFormat(enum.Enum):
    """mlx-lm's formats, in the order in which it looks for their keys."""

    COMPLETIONS = _Completion
    CHAT = _Chat
    TEXT = _Text

    @property
    def keys(self) -> list[str]:
        """The keys by which mlx-lm recognizes it."""
        return [key for key, each in self.value.model_fields.items() if each.is_required()]

    @classmethod
    def of(cls, row: dict[str, Any]) -> RowFormat | None:
        """The format that mlx-lm takes `row` for; None if it knows none."""
        return next((each for each in cls if all(key in row for key in each.keys)), None)

    def __str__(self) -> str:
        return " and ".join(self.keys)


def data_files(folder: Path) -> list[Path]:
    """The files that mlx-lm reads in `folder`; some may be missing."""
    return [folder / f"{name}.jsonl" for name in ("train", "valid", "test")]


def check_folder(folder: Path) -> None:
    """DataError if mlx-lm would fail at a file in `folder`."""
    for path in data_files(folder):
        if path.exists():
            check_file(path)


def check_file(path: Path) -> None:
    """DataError with the first row that mlx-lm would fail at, and the number of such rows."""
    if not path.is_file():
        raise DataError(f"--yourai-data: {path} is not a file: put one in its place, or remove it")
    try:
        bad = list(_problems(path))
    except OSError as refused:
        raise DataError(
            f"--yourai-data: {path} cannot be read: {refused.strerror}; make it readable, or "
            "remove it"
        ) from None
    if bad:
        number, reason = bad[0]
        others = "" if len(bad) == 1 else f" (the first of {len(bad):,} bad lines)"
        raise DataError(bad_row(f"{path}:{number}", f"{shortened(reason)}{others}", "line"))


def bad_row(place: str, reason: str, what: Literal["line", "row"]) -> str:
    """The message about the row at `place`."""
    return f"--yourai-data: {place}: {reason}: fix or remove the {what}"


def shortened(text: str) -> str:
    """`text` in one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} …"


def _problems(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and error of each row that mlx-lm would fail at.

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
    """The row in `line`, or its error."""
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
    """The first error of `row` as one in the format of the rows before it; None if it is valid."""
    try:
        row_format.value.model_validate(row)
    except pydantic.ValidationError as problem:
        first = problem.errors(include_url=False)[0]
    else:
        return None
    place = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first["loc"])
    place, is_nested = place.removeprefix("."), len(first["loc"]) > 1
    if first["type"] == "missing":
        return f"{place} is missing" if is_nested else f"it has no {place}, which the first row has"
    if first["type"] == "too_short":
        return f"{place} is an empty list"
    if expected := _EXPECTED.get(first["type"]):
        return f"{place} must be {expected}, not {_kind(first['input'])}"
    return f"{place} {first['msg'].removeprefix('Value error, ')}"


def _kind(value: Any) -> str:
    return _KINDS.get(type(value)) or json.dumps(value)


def _formats() -> str:
    *others, last = map(str, RowFormat)
    return f"{', '.join(others)} or {last}"
