"""What a sweep is to do, and what it finds before its first trial."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, Objective, StepPlan
from pytest_yourai.core.device import Backend, DeviceInfo
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.plan.safe_table import read_safe_table
from pytest_yourai.store.stored_profile import StoredProfile

Isolation = Literal["model", "trial"]

SearchKind = Literal["fast", "exhaustive"]


@dataclass(frozen=True)
class SafeCheck:
    """That a model is tried in the one configuration that is safe for it.

    `parameters` is None where the worker has to tell; of `rows` their length and checkpointing
    count.
    """

    parameters: float | None
    rows: LoraConfig

    def configuration(self, inspection: Inspection, limit_bytes: int) -> LoraConfig:
        """The one that is safe within so much memory, with no more rows in a batch than there are.

        By the model as `inspection` found it.
        """
        safe = read_safe_table().configuration(
            self.parameters or inspection.parameters,
            limit_bytes,
            depth=inspection.num_hidden_layers,
            max_seq_length=self.rows.max_seq_length,
            grad_checkpoint=self.rows.grad_checkpoint,
        )
        rows = inspection.data.rows if inspection.data else safe.batch_size
        return dataclasses.replace(safe, batch_size=min(safe.batch_size, rows))


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
    settings: SweepSettings
    identity: dict[str, Any]
    force: bool = False
    memory_wait_s: float = 5.0
    """How long to wait before a trial for memory that others may give back."""
    search: SearchKind = "exhaustive"
    objective: Objective = Objective.SCORE
    depth: int | None = None
    """Number of hidden layers, where the architecture tells."""
    recording: StoredProfile | None = None
    """Where measurements come from instead of a worker."""
    check: SafeCheck | None = None
    """In place of `configs`."""

    def tried(self, inspection: Inspection, limit_bytes: int) -> tuple[LoraConfig, ...]:
        """Its configurations; of a check the safe one of so much memory."""
        if self.check is None:
            return self.configs
        return (self.check.configuration(inspection, limit_bytes),)

    @cached_property
    def naming(self) -> ConfigLabels:
        """How its configurations are told apart in words."""
        return ConfigLabels.of(self.configs)


@dataclass(frozen=True)
class SweepContext:
    """What the worker said before the first trial, and the budget that follows from it.

    `notes` are lines for the console's header.
    """

    device: DeviceInfo
    inspection: Inspection
    budget: Budget
    notes: tuple[str, ...] = ()


def predictor_of(
    plan: SweepPlan,
    prior: Calibration,
    backend: Backend,
    device: str = "",
    sizes: InspectedShapes | None = None,
    data: TrainingData | None = None,
) -> Predictor:
    """Predicts for the plan's model.

    Of a recording without minima it predicts nothing: peaks are something else.
    """
    source = plan.source
    if plan.recording is not None and not plan.recording.has_minima:
        source = dataclasses.replace(source, architecture={})
    longest_row = data.longest if data else None
    return Predictor(source, backend, device, sizes, prior, longest_row)
