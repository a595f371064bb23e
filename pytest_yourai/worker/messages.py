"""The wire format between parent and worker: one JSON object a line, on pipes of their own.

A line is an envelope: a body, named by its `kind`, and the `number` of the command that it is or
belongs to, so that a late answer is not taken for that of the next command. Floats that are not
finite travel as NaN and Infinity, which Python's and pydantic's JSON readers both take.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import signal
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

import pydantic

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerError, WorkerReportError
from pytest_yourai.core.excerpt import excerpt
from pytest_yourai.core.figures import HeldBytes
from pytest_yourai.core.redaction import redactor
from pytest_yourai.models.source import READ_BY_DEFAULT, Inspection, ModelSource, RowReading, Wanted
from pytest_yourai.worker.joining import Joined, JoinRequest
from pytest_yourai.worker.protocol import (
    Measurement,
    RowsRead,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialEvent,
    TrialRequest,
)

STACK_SIGNAL = signal.SIGUSR1
"""Makes the worker print the Python stacks of all its threads to stderr, whatever it does."""

_KIND_ONLY = 2
"""Parts of the place of a mistake in a body that name no field: `body`, and its kind."""

_QUOTED = 60

FailureKind = Literal["backend", "model", "data", "recipe", "invalid_loss", "exception"]


@dataclass(frozen=True, slots=True)
class Inspect:
    """Answered by an Inspection."""

    source: ModelSource
    data: str | None
    reading: RowReading = READ_BY_DEFAULT
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Answered by Loaded."""

    source: ModelSource


@dataclass(frozen=True, slots=True)
class Loaded:
    base_memory_bytes: HeldBytes


@dataclass(frozen=True, slots=True)
class Stop:
    """Makes the running training end after the current step, and save."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Lets the running training write a checkpoint: the parent has the steps up to it."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered by a Pong."""


@dataclass(frozen=True, slots=True)
class Pong: ...


@dataclass(frozen=True, slots=True)
class Failed:
    """A command, or the start, ended with an exception: `text` is one line of it."""

    failure: FailureKind
    text: str
    traceback: str


Command = Inspect | JoinRequest | Load | TrialRequest | TrainingRequest | Ping | Stop | GoOn
"""A body that the parent sends."""

Message = (
    DeviceInfo
    | Pong
    | Inspection
    | Joined
    | Loaded
    | MlxMemory
    | RowsRead
    | TrialEvent
    | Measurement
    | TrainingEvent
    | TrainingEnd
    | Failed
)
"""A body that the worker sends.

DeviceInfo once, when its engine runs; MlxMemory a few times a second while a command runs; RowsRead
every few seconds of an inspection; steps and events as they happen; one answer to each command.
"""

_Body = TypeVar("_Body", bound=Command | Message)


@dataclass(frozen=True, slots=True)
class Envelope(Generic[_Body]):
    """`number` is that of the command that the body is or belongs to."""

    number: int
    body: _Body


def encode(envelope: Envelope[Any]) -> bytes:
    document = {"number": envelope.number, "body": with_kind(envelope.body)}
    return json.dumps(document).encode() + b"\n"


def with_kind(body: Any) -> dict[str, Any]:
    """The fields of a dataclass, and as `kind` its name."""
    return {"kind": type(body).__name__, **dataclasses.asdict(body)}


def decode(bodies: Any, line: bytes) -> Envelope[Any]:
    """The envelope in `line` with one of `bodies`, Command or Message.

    WorkerReportError where a field has a value that it cannot have, WorkerError for what is no
    message at all.
    """
    try:
        return _reader(bodies).validate_json(line, strict=True)
    except pydantic.ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        why, place = first["msg"], [str(each) for each in first["loc"]]
        if place[:1] == ["body"] and len(place) > _KIND_ONLY and first["type"] != "missing":
            _, kind, *field = place
            found = excerpt(redactor()(repr(first["input"])), _QUOTED)
            raise WorkerReportError(
                f"the worker sent a {kind} with {'.'.join(field)} = {found}, which cannot be "
                f"({why.lower()})"
            ) from None
        shown = excerpt(redactor()(line.decode(errors="replace")), _QUOTED)
        raise WorkerError(f"not a message ({why}): {shown!r}") from None


@functools.cache
def _reader(bodies: Any) -> pydantic.TypeAdapter[Envelope[Any]]:
    """Built when it is needed: each side reads one direction."""
    envelope: Any = Envelope
    return pydantic.TypeAdapter(envelope[told_apart_by_kind(bodies)])


def told_apart_by_kind(bodies: Any) -> Any:
    """The union `bodies` for pydantic, whose members are known by the `kind` that a body names."""
    tagged = [Annotated[each, pydantic.Tag(each.__name__)] for each in get_args(bodies)]
    union: Any = functools.reduce(operator.or_, tagged)
    by_kind = pydantic.Discriminator(
        lambda body: body.get("kind") if isinstance(body, dict) else None
    )
    return Annotated[union, by_kind]
