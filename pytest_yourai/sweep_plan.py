"""What a sweep is to do, and what it finds before its first trial."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pytest_yourai.config import LoraConfig, Objective, StepPlan
from pytest_yourai.engine.protocol import DeviceInfo, Inspection, ModelSource
from pytest_yourai.memory.budget import Budget
from pytest_yourai.naming import Naming
from pytest_yourai.recording import Recording

Isolation = Literal["model", "trial"]
SearchKind = Literal["fast", "exhaustive"]


@dataclass(frozen=True)
class Check:
    """That a model is tried in the one configuration that is safe for it.

    `parameters` is None where the worker has to tell; of `rows` their length and checkpointing
    count.
    """

    parameters: float | None
    rows: LoraConfig


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep is to do. `memory_limit_bytes` is None where it is to be detected.

    `settings` is what the journal and the profile say of all this, `identity` what must be the
    same for measurements of another run to be taken over; with `force` the guard only warns.
    """

    source: ModelSource
    configs: tuple[LoraConfig, ...]
    steps: StepPlan
    isolation: Isolation
    data: str | None
    seed: int
    memory_limit_bytes: int | None
    start_timeout_s: float
    settings: dict[str, Any]
    identity: dict[str, Any]
    force: bool = False
    memory_wait_s: float = 5.0
    """How long to wait before a trial for memory that others may give back."""
    search: SearchKind = "exhaustive"
    objective: Objective = Objective.SCORE
    depth: int | None = None
    """Number of hidden layers, where the architecture tells."""
    recording: Recording | None = None
    """Where measurements come from instead of a worker."""
    check: Check | None = None
    """In place of `configs`."""

    @cached_property
    def naming(self) -> Naming:
        """How its configurations are told apart in words."""
        return Naming.of(self.configs)


@dataclass(frozen=True)
class Surroundings:
    """What the worker said before the first trial, and the budget that follows from it.

    `notes` are lines for the console's header.
    """

    device: DeviceInfo
    inspection: Inspection
    budget: Budget
    notes: tuple[str, ...] = ()
