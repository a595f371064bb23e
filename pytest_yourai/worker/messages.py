"""The wire format between parent and worker: one JSON object a line, on pipes of their own.

Every line names its `kind`, and the `number` of the command that it is or belongs to: an answer
that comes late is no answer to the next command. Floats that are not finite travel as NaN and
Infinity, which Python's and pydantic's JSON readers both take.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

import pydantic

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.sanitize import redactor
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.worker.protocol import (
    Measurement,
    Saved,
    Saving,
    StepSample,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialRequest,
    Validated,
)

_T = TypeVar("_T")

STACK_SIGNAL = signal.SIGUSR1
"""Makes the worker print the Python stacks of all its threads to stderr, whatever it does."""

FailureKind = Literal["backend", "model", "data", "invalid_loss", "exception"]


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A command, or what belongs to the command of that number."""

    number: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Inspect(_Numbered):
    source: ModelSource
    data: str | None
    kind: Literal["inspect"] = "inspect"


@dataclass(frozen=True, slots=True)
class Load(_Numbered):
    source: ModelSource
    kind: Literal["load"] = "load"


@dataclass(frozen=True, slots=True)
class RunTrial(_Numbered):
    request: TrialRequest
    kind: Literal["run_trial"] = "run_trial"


@dataclass(frozen=True, slots=True)
class Train(_Numbered):
    request: TrainingRequest
    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True)
class Stop(_Numbered):
    """No command of its own: a Train is to end after the step that runs, and to save."""

    kind: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True)
class GoOn(_Numbered):
    """No command of its own: the steps of a Train up to a checkpoint are kept."""

    kind: Literal["go_on"] = "go_on"


@dataclass(frozen=True, slots=True)
class Ping(_Numbered):
    kind: Literal["ping"] = "ping"


@dataclass(frozen=True, slots=True)
class Pong(_Numbered):
    kind: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class Hello(_Numbered):
    """The worker's first message: its engine runs."""

    device: DeviceInfo
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Inspected(_Numbered):
    inspection: Inspection
    kind: Literal["inspected"] = "inspected"


@dataclass(frozen=True, slots=True)
class Loaded(_Numbered):
    base_memory_bytes: int
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True, slots=True)
class Memory(_Numbered):
    """Sent a few times a second while a command is worked on."""

    memory: MlxMemory
    kind: Literal["memory"] = "memory"


@dataclass(frozen=True, slots=True)
class Step(_Numbered):
    sample: StepSample
    kind: Literal["step"] = "step"


@dataclass(frozen=True, slots=True)
class Measured(_Numbered):
    measurement: Measurement
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True, slots=True)
class Trained(_Numbered):
    trained: TrainedStep
    kind: Literal["trained"] = "trained"


@dataclass(frozen=True, slots=True)
class ValidationLoss(_Numbered):
    validated: Validated
    kind: Literal["validation_loss"] = "validation_loss"


@dataclass(frozen=True, slots=True)
class CheckpointDue(_Numbered):
    """The worker waits for a GoOn before it writes the checkpoint."""

    saving: Saving
    kind: Literal["checkpoint_due"] = "checkpoint_due"


@dataclass(frozen=True, slots=True)
class CheckpointSaved(_Numbered):
    saved: Saved
    kind: Literal["checkpoint_saved"] = "checkpoint_saved"


@dataclass(frozen=True, slots=True)
class TrainingEnded(_Numbered):
    end: TrainingEnd
    kind: Literal["training_ended"] = "training_ended"


@dataclass(frozen=True, slots=True)
class Failed(_Numbered):
    """A command, or the start, ended with an exception: `text` is one line of it."""

    failure: FailureKind
    text: str
    traceback: str
    kind: Literal["failed"] = "failed"


Command = Inspect | Load | RunTrial | Train | Ping

Message = (
    Hello
    | Pong
    | Inspected
    | Loaded
    | Memory
    | Step
    | Measured
    | Trained
    | ValidationLoss
    | CheckpointDue
    | CheckpointSaved
    | TrainingEnded
    | Failed
)

_COMMANDS: pydantic.TypeAdapter[Command] = pydantic.TypeAdapter(
    Annotated[Command, pydantic.Field(discriminator="kind")]
)

_MESSAGES: pydantic.TypeAdapter[Message] = pydantic.TypeAdapter(
    Annotated[Message, pydantic.Field(discriminator="kind")]
)


def of_training(
    event: TrainingEvent,
) -> Trained | ValidationLoss | CheckpointDue | CheckpointSaved:
    """The message that says it."""
    match event:
        case TrainedStep():
            return Trained(event)
        case Validated():
            return ValidationLoss(event)
        case Saving():
            return CheckpointDue(event)
        case Saved():
            return CheckpointSaved(event)


def training_event(message: Message) -> TrainingEvent | None:
    """What it says of training, if it does."""
    match message:
        case Trained(trained):
            return trained
        case ValidationLoss(validated):
            return validated
        case CheckpointDue(saving):
            return saving
        case CheckpointSaved(saved):
            return saved
    return None


def encode(message: Command | Stop | GoOn | Message) -> bytes:
    return json.dumps(dataclasses.asdict(message)).encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """The command in `line`; WorkerError where it is none."""
    return _decode(_COMMANDS, line)


def is_stop(line: bytes) -> bool:
    """Whether this is a Stop, which must be heard while another command is worked on."""
    return _kind(line) == "stop"


def is_go_on(line: bytes) -> bool:
    """Whether this is a GoOn, which is awaited while another command is worked on."""
    return _kind(line) == "go_on"


def _kind(line: bytes) -> object:
    try:
        return json.loads(line)["kind"]
    except (ValueError, KeyError, TypeError):
        return None


def decode_message(line: bytes) -> Message:
    """The message in `line`; WorkerError where it is none."""
    return _decode(_MESSAGES, line)


def _decode(adapter: pydantic.TypeAdapter[_T], line: bytes) -> _T:
    try:
        return adapter.validate_json(line)
    except pydantic.ValidationError as problem:
        what = problem.errors(include_url=False)[0]["msg"]
        shown = redactor()(line.decode(errors="replace"))[:80]
        raise WorkerError(f"not a message ({what}): {shown!r}") from None
