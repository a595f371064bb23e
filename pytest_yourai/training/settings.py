"""The input of a training run, and where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.source import ModelSource, Wanted
from pytest_yourai.training.checkpoint import MeasuredBaseline
from pytest_yourai.worker.protocol import TrainingParameters


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a run in words, such as `batch_size`, `4`, `optimal_config.json`."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class TrainSettings:
    """The input of a training run.

    `memory_limit_bytes` None means the budget that the machine has; `data` None made-up rows, which
    only synthetic weights may have. `source` is what a worker loads.
    """

    source: ModelSource
    config: LoraConfig
    recipe: Recipe
    parameters: TrainingParameters
    memory_limit_bytes: int | None
    data: str | None
    adapter_path: Path
    memory_report_interval: int
    first_step: int
    """The step of the checkpoint that the run continues from; 0 for a new run."""
    force: bool
    compile_timeout_s: float
    baseline: MeasuredBaseline | None
    about: Mapping[str, Any]
    """JSON values that a checkpoint has besides those that the engine writes."""
    used: tuple[Setting, ...]
    """In the order in which they are printed before the run."""
    warnings: tuple[str, ...]
    recipe_file: str | None = None
    hosts: HostGroup | None = None
    """The ranks that train together; None where one process does alone."""

    @property
    def ranks(self) -> int:
        """The number of processes that train together."""
        return self.hosts.world_size if self.hosts else 1

    @property
    def wanted(self) -> Wanted:
        """What it trains, for the worker to examine."""
        return Wanted.of([self.config], self.recipe, self.recipe_file)
