"""The Engine protocol and its frozen data, which can cross a pipe: bytes and seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import YouraiError
from pytest_yourai.core.figures import (
    Bytes,
    Count,
    Duration,
    FiniteLoss,
    HeldBytes,
    Loss,
    Rate,
    StepNumber,
    StepTime,
)
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.models.source import (
    READ_BY_DEFAULT,
    BadRows,
    Inspection,
    ModelSource,
    RowReading,
    Wanted,
)
from pytest_yourai.worker.joining import AllSum, Joined, JoinRequest

Phase = Literal["warmup", "settle", "measure", "survey"]
"""Of a trial's steps; those of a survey, of real data, are shorter than all that are measured."""


@dataclass(frozen=True, slots=True)
class RankFigures:
    """What one rank's step took: bytes, seconds."""

    peak_memory_bytes: HeldBytes
    step_time_s: StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """One training step. `footprint_bytes` is the process's at its end; on CUDA the device's use.

    It is read at rest, between steps: during one it goes up and down by gigabytes.
    """

    loss: Loss
    step_time_s: StepTime
    peak_memory_bytes: HeldBytes
    active_memory_bytes: HeldBytes
    cache_memory_bytes: Bytes
    footprint_bytes: Bytes | None
    tokens: Count
    ranks: tuple[RankFigures, ...] = ()
    """Of a step that several ranks took together, whose other figures are the largest of theirs."""


@dataclass(frozen=True, slots=True)
class StepSample(StepFigures):
    """One step of a trial."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Compiling:
    """The step that begins now compiles: nothing of its shape has run yet."""


TrialEvent = StepSample | Compiling


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """`data` is a folder or Hugging Face data set as mlx-lm reads it; None for made-up rows."""

    config: LoraConfig
    plan: StepPlan
    memory_limit_bytes: int
    data: str | None
    recipe: Recipe = MLX_LM_DEFAULTS
    reading: RowReading = READ_BY_DEFAULT
    turns_folder: str | None = None
    """Has the pipes through which its measured steps take turns with another process."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Rows of training data that are read so far, of `total`."""

    rows: Count
    total: Count


@dataclass(frozen=True, slots=True)
class Measurement:
    """The end of a completed trial; its figures are in its steps."""

    fits: bool
    memory_is_back_at_base: bool
    all_sum: AllSum | None = None
    """Of exactly the gradients' bytes, among ranks."""


Keep = Literal["best", "last", "both"]
"""Adapters that a run leaves: those of the lowest validation loss, of the last step, or both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParameters:
    """The settings of training: its length, when it saves and validates; in steps."""

    max_steps: int
    save_every: int
    reload_interval: int | None = None
    """Steps after which a fresh process is to go on; None for never."""
    steps_per_eval: int
    val_batches: int
    """-1 for all; 0 for no validation."""
    bad_rows: BadRows = "refuse"
    report_to: str | None = None
    """Services as mlx-lm names them, separated by commas."""
    project_name: str | None = None
    keep: Keep = "last"
    patience: int = 0
    """Validations in a row without a better loss that end training; 0 for never."""
    max_grad_norm: float | None = None
    """The largest global norm of the gradients of an update."""
    max_skipped_batches: int = 0
    """Batches whose loss is not finite that a run may skip."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Training from its start, or from the checkpoint of `first_step`, to its end or a reload.

    `data` is as in a TrialRequest; adapters and checkpoint are written into `adapter_path`.
    """

    config: LoraConfig
    recipe: Recipe
    parameters: TrainingParameters
    memory_limit_bytes: int
    data: str | None
    adapter_path: str
    first_step: int
    """0 for a new run."""
    folder_mark: str | None = None
    """A file in `adapter_path`, by which ranks on other hosts know whether they see that very
    folder; one of them must. None where nothing need be kept."""
    reload_active_bytes: int | None = None
    """A fresh process is to go on where MLX's active memory after a step is over this, and over
    1.1 times what is usual."""
    usual_active_bytes: int | None = None
    """Active memory after a step of the trial; None for that of this process's third step."""
    reload_footprint_bytes: int | None = None
    may_pass_the_limit: bool = False
    """True if it goes on after MLX's peak in a step was over `memory_limit_bytes`."""
    about: Mapping[str, Any] | None = None
    """Further metadata of the checkpoint, for the process that resumes it."""
    report_config: Mapping[str, Any] | None = None
    """The configuration of the run for the services of `report_to`."""


@dataclass(frozen=True, slots=True)
class TrainedStep(StepFigures):
    """One step of training, counted from 1 over all processes."""

    step: StepNumber
    learning_rate: Rate


@dataclass(frozen=True, slots=True)
class SkippedBatch:
    """A step whose batch changed nothing, because its loss was not finite."""

    step: StepNumber
    loss: Loss
    count: Count
    """Batches of the run that were skipped by now."""


@dataclass(frozen=True, slots=True)
class Validating:
    """One more batch of a validation is done."""


@dataclass(frozen=True, slots=True)
class Validated:
    """The loss on the validation set after `step` steps, and the lowest so far."""

    step: Count
    loss: Loss
    time_s: Duration
    best_step: Count | None = None
    """None before the first step."""
    best_loss: FiniteLoss | None = None


@dataclass(frozen=True, slots=True)
class Saving:
    """The checkpoint of `step` will be written once the parent has all the steps."""

    step: Count


@dataclass(frozen=True, slots=True)
class Saved:
    """The checkpoint of `step` is on the disk."""

    step: Count


TrainingEvent = TrainedStep | SkippedBatch | Validating | Validated | Saving | Saved | Compiling

RunEvent = TrialEvent | TrainingEvent

EndReason = Literal[
    "finished", "patience", "stopped", "memory_limit", "interval", "active_memory", "footprint"
]
"""The last three ask for a fresh process to go on; `memory_limit`: MLX held more than the limit."""


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """Why training ended, and the step that is saved, the last that changed the adapters."""

    step: Count
    reason: EndReason


class InvalidLossError(YouraiError):
    """The loss was zero or not finite."""


class Engine(Protocol):
    """Holds one base model and runs trials on it."""

    def device(self) -> DeviceInfo: ...

    def inspect(
        self,
        source: ModelSource,
        data: str | None,
        reading: RowReading,
        report: Callable[[RowsRead], None],
        wanted: Wanted | None,
    ) -> Inspection:
        """Build the model lazily, and read the data if there is any, reporting now and then.

        ModelError where architecture or LoRA keys do not fit, where the tokenizer does not suit the
        data, or where the model cannot be trained as `wanted`; DataError and RecipeError where data
        cannot be read, or a recipe not be followed, whatever the model.
        """
        ...

    def load(self, source: ModelSource) -> int:
        """Make the weights; returns MLX's active memory in bytes, the base of all trials."""
        ...

    def join(self, request: JoinRequest) -> Joined:
        """Join the group of ranks that this process was started for.

        Waits for all the others, for ever. WorkerError where there is no such group.
        """
        ...

    def memory(self) -> MlxMemory:
        """Callable from any thread, also while a trial runs."""
        ...

    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        """Run a trial, reporting each step as it ends, and before it whether it compiles.

        The loaded model is left as it was.
        """
        ...

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        """Train the loaded model, and save; `should_stop` is asked after each step."""
        ...
