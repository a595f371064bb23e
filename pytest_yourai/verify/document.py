"""The file of `yourai verify`: the machine, its versions, and every line with its samples."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.files import check_writable, read_document, write_json
from pytest_yourai.core.keeping import keep_aside, sole_writer
from pytest_yourai.store.schema import Amount, Row, first_problem, read_leniently

SCHEMA_VERSION: Literal[1] = 1


class Status(enum.StrEnum):
    """The verdict of a line."""

    OK = "ok"
    FAILED = "failed"
    NOT_READ = "not read"


class Line(Row):
    """One verdict: a number and its limits, relative unless `unit` says otherwise.

    Samples are in bytes or seconds, as their names say.
    """

    name: str
    title: str
    status: Annotated[Status, pydantic.Field(strict=False)]
    value: Amount | None = None
    least: Amount | None = None
    most: Amount | None = None
    unit: str | None = None
    note: str = ""
    samples: dict[str, list[float]] = pydantic.Field(default_factory=dict)


def _environment(value: Any) -> Environment:
    return value if isinstance(value, Environment) else read_leniently(Environment, value)


class Verification(Row):
    """The whole file; `took_s` is the wall time in seconds."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created_at: str
    took_s: Amount
    environment: Annotated[Environment, pydantic.BeforeValidator(_environment)]
    lines: tuple[Line, ...] = pydantic.Field(strict=False)

    @property
    def passed(self) -> bool:
        """True if no line failed."""
        return not any(line.status is Status.FAILED for line in self.lines)


def read(path: Path) -> Verification:
    """The file at `path`; RecordingError if it is none of these."""
    try:
        return Verification.model_validate(read_document(path))
    except pydantic.ValidationError as problem:
        raise RecordingError(
            f"{path}: {first_problem(problem)}; name a file of yourai verify --output"
        ) from None


def write(path: Path, found: Verification, flag: str) -> Path | None:
    """Write atomically; returns the dated name of what was there before, if anything was.

    OutputError, naming `flag`, where that fails.
    """
    check_writable(path, flag)
    with sole_writer(path):
        kept = keep_aside(path, None, flag) if path.exists() else None
        write_json(path, found.as_json(), flag)
    return kept
