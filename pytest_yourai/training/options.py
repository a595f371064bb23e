"""What a training run was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_yourai.config import QuantizeChoice
from pytest_yourai.errors import OptionError


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


def check_combinations(options: TrainOptions) -> None:
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
