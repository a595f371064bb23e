"""What a training run is to do, with where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.config import LoraConfig, QuantizeChoice
from pytest_yourai.core.errors import OptionError
from pytest_yourai.models.resolve import Model
from pytest_yourai.models.source import ModelSource


@dataclass(frozen=True, slots=True)
class MeasuredBaseline:
    """What the trial of a configuration measured. Bytes, before any margin; None: not known."""

    peak_memory_bytes: int
    minimum_memory_bytes: int | None
    active_memory_bytes: int | None
    step_time_s: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that is used, in words: `batch_size`, `4`, `optimal_config.json`."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class TrainSettings:
    """Everything that a training run needs to know.

    `memory_limit_bytes` None means what the machine has; `data` None made-up rows, which only
    made-up weights may have. `model` is fetched, and `source` is what a worker loads.
    """

    model: Model
    source: ModelSource
    config: LoraConfig
    memory_limit_bytes: int | None
    data: str | None
    max_steps: int
    learning_rate: float
    seed: int
    adapter_path: Path
    save_every: int
    reload_interval: int | None
    memory_report_interval: int
    steps_per_eval: int
    val_batches: int
    mask_prompt: bool
    first_step: int
    """After which a checkpoint goes on; 0 for a new run."""
    force: bool
    report_to: str | None
    project_name: str | None
    promise: MeasuredBaseline | None
    about: Mapping[str, Any]
    """What a checkpoint says of the run besides what training itself needs; as JSON has it."""
    used: tuple[Setting, ...]
    """What is printed before the run, in its order."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TrainOptions:
    """None for what was not given: then a checkpoint, a profile or a default decides.

    `model` is as it was named, `presets` the list that it is looked up in; other paths are
    absolute. `max_seq_length` is in tokens.
    """

    model: str
    presets: Path
    adapter_path: Path
    data: str | None = None
    profile: Path | None = None
    auto_optimize: bool = False
    quick: bool = False
    matrix: Path | None = None
    batch_size: int | None = None
    rank: int | None = None
    num_layers: int | None = None
    max_seq_length: int | None = None
    grad_checkpoint: bool | None = None
    lora_keys: tuple[str, ...] | None = None
    quantize: QuantizeChoice = None
    learning_rate: float | None = None
    max_steps: int | None = None
    seed: int | None = None
    mask_prompt: bool | None = None
    memory_limit_bytes: int | None = None
    save_every: int | None = None
    reload_interval: int | None = None
    memory_report_interval: int | None = None
    steps_per_eval: int | None = None
    val_batches: int | None = None
    resume: bool = False
    report_to: str | None = None
    project_name: str | None = None
    weights: Literal["local", "hub", "synthetic"] = "local"
    force: bool = False
    trust_remote_code: bool = False


FLAGS = {
    "batch_size": "--batch-size",
    "rank": "--lora-rank",
    "num_layers": "--lora-layers",
    "max_seq_length": "--seq-length",
    "grad_checkpoint": "--grad-checkpoint",
    "lora_keys": "--lora-keys",
    "quantize": "--quantize",
    "learning_rate": "--learning-rate",
    "max_steps": "--max-steps",
    "seed": "--seed",
    "mask_prompt": "--mask-prompt",
    "data": "--data",
    "save_every": "--save-every",
    "reload_interval": "--reload-interval",
    "memory_report_interval": "--memory-report-interval",
    "steps_per_eval": "--steps-per-eval",
    "val_batches": "--val-batches",
    "memory_limit_bytes": "--max-memory",
    "report_to": "--report-to",
    "project_name": "--project-name",
}
"""The flags of options that others may decide, by the name of the option."""


def check_train_combinations(options: TrainOptions) -> None:
    """OptionError where flags contradict each other."""
    for problem in _contradictions(options):
        raise OptionError(problem)


def _contradictions(options: TrainOptions) -> Iterator[str]:
    if options.profile and options.auto_optimize:
        yield "--profile and --auto-optimize both choose the configuration: leave one out"
    if options.resume and options.auto_optimize:
        yield "--resume goes on with the configuration of the checkpoint: leave --auto-optimize out"
    for name, value in (("--quick", options.quick), ("--matrix", options.matrix)):
        if value and not options.auto_optimize:
            yield f"{name} is of the sweep before training: add --auto-optimize, or leave it out"
    if options.quick and options.matrix:
        yield "--quick and --matrix both name a matrix: leave one out"
    is_reported = options.report_to is not None or options.resume
    if options.project_name is not None and not is_reported:
        yield "--project-name is for a service that is reported to: add --report-to"
