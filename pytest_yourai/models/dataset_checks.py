"""Rows of training data that mlx-lm cannot read: found before it tries, with their line.

mlx-lm takes the format of a file from its first row, and fails at the first row that differs with
an exception that names neither file nor line. Whether a row can be trained on is known once it is
tokenized; the schemas here only explain why it cannot.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.errors import DataError
from pytest_yourai.core.files import parse_json

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


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that mlx-lm cannot read or train on; `place` is the file and the line, or the like."""

    place: str
    reason: str
    what: Literal["line", "row"] = "line"


def refusal(bad: Sequence[BadRow], remedy: str = "") -> str:
    """The message about bad rows: the first of them, and how many there are."""
    first = bad[0]
    others = "" if len(bad) == 1 else f" (the first of {len(bad):,} bad {first.what}s)"
    reason = shortened(first.reason)
    return f"--yourai-data: {first.place}: {reason}{others}: fix or remove the {first.what}{remedy}"


OR_SKIP = ", or leave such rows out with --yourai-bad-rows skip"
"""The other remedy, where there are other rows."""


def check_folder(folder: Path) -> None:
    """DataError with the first line that mlx-lm cannot read, and the number of such lines."""
    for path in data_files(folder):
        if path.exists():
            bad = [each for _, each in read_lines(path) if isinstance(each, BadRow)]
            if bad:
                raise DataError(refusal(bad, OR_SKIP))


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Each line's number, and its row, or why mlx-lm cannot read it.

    Lines end where they do for mlx-lm, which opens the file as text, and takes the format of all
    from the first row. DataError where the file itself cannot be read.
    """
    if not path.is_file():
        raise DataError(f"--yourai-data: {path} is not a file: put one in its place, or remove it")
    row_format: RowFormat | None = None
    number = 0
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                row, problem = _parsed(line)
                if row is not None:
                    row_format = row_format or RowFormat.of(row)
                    problem = _missing(row, row_format)
                if row is None or problem is not None:
                    yield number, BadRow(f"{path}:{number}", problem or "")
                else:
                    yield number, row
    except OSError as refused:
        raise DataError(
            f"--yourai-data: {path} cannot be read: {refused.strerror}; make it readable, or "
            "remove it"
        ) from None
    if number == 0:
        raise DataError(f"--yourai-data: {path} is empty: fill it or remove it")


def _missing(row: dict[str, Any], row_format: RowFormat | None) -> str | None:
    if row_format is None:
        return f"no data format of mlx-lm: a row needs {_formats()}"
    missing = next((key for key in row_format.keys if key not in row), None)
    return missing and f"it has no {missing}, which the first row has"


def shortened(text: str) -> str:
    """`text` in one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} …"


def _parsed(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """The row in `line`, or its error."""
    if not line.strip():
        return None, "the line is blank"
    if _UNDECODED.search(line):
        return None, "it is not UTF-8"
    if line.startswith("\ufeff"):
        return None, "it begins with a byte order mark"
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as problem:
        return None, f"it is not valid JSON ({problem})"
    if not isinstance(row, dict):
        return None, f"it must be a JSON object, not {_kind(row)}"
    return row, None


def row_problem(row: dict[str, Any], row_format: RowFormat) -> str | None:
    """Why `row` is no usual one of its format; None if it is. mlx-lm may train on it even so."""
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
