"""What a training run is to do, with where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.config import LoraConfig
from pytest_yourai.engine.protocol import ModelSource
from pytest_yourai.models import Model


@dataclass(frozen=True, slots=True)
class Promise:
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
    promise: Promise | None
    about: Mapping[str, Any]
    """What a checkpoint says of the run besides what training itself needs; as JSON has it."""
    used: tuple[Setting, ...]
    """What is printed before the run, in its order."""
    warnings: tuple[str, ...]
