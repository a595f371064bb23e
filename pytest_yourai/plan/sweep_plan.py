"""The plan of one sweep, and the facts that a worker adds before the first trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import COMPILE_TIMEOUT_S, LoraConfig, Objective, StepPlan
from pytest_yourai.core.device import Backend, DeviceInfo
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.calibration_file import (
    read_lessons,
    set_aside_if_damaged,
    write_lessons,
)
from pytest_yourai.estimate.earlier_runs import (
    EarlierRuns,
    earlier_runs,
    identity_of_shapes,
    kind_of_model,
)
from pytest_yourai.estimate.predictor import Predictor
from pytest_yourai.machine.budget import Budget
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.identity import digest
from pytest_yourai.models.source import READ_BY_DEFAULT, Inspection, ModelSource, RowReading, Wanted
from pytest_yourai.plan.identity import machine_id
from pytest_yourai.plan.matrix import evenly_accumulated
from pytest_yourai.plan.safe_table import safe_config
from pytest_yourai.store.recording import backend_of
from pytest_yourai.store.stored_profile import StoredProfile


@dataclass(frozen=True)
class SafeCheck:
    """A trial of a model in the one configuration that is safe for it.

    `parameters` is the model's number of parameters, None until a worker has counted them.
    """

    parameters: float | None
    like: LoraConfig
    """Its rows and recipe; of batch size, rank and layers those that are `fixed`."""
    effective_batch_size: int | None = None
    fixed: tuple[str, ...] = ()
    """What the user has chosen of batch size, rank and layers, by the names of the axes."""
    ranks: int = 1
    """Processes that train together; the batch is of all of them."""

    def configuration(self, inspection: Inspection, limit_bytes: int) -> LoraConfig:
        """The configuration that is safe for the inspected model within `limit_bytes`.

        A batch has no more rows than the training data.
        """
        safe = safe_config(
            self.parameters or inspection.parameters,
            limit_bytes,
            depth=inspection.num_hidden_layers,
            like=self.like,
            fixed=self.fixed,
            ranks=self.ranks,
        )
        rows = inspection.data.rows if inspection.data else safe.batch_size
        most = max(1, rows // self.ranks) * self.ranks
        safe = dataclasses.replace(safe, batch_size=min(safe.batch_size, most))
        return evenly_accumulated(safe, self.effective_batch_size, self.ranks)


@dataclass(frozen=True)
class SweepPlan:
    """The work of one sweep. `memory_limit_bytes` is None if the budget is to be detected.

    `settings` describes the sweep in the journal and the profile. Measurements of a run with the
    same `identity` can be kept. With `force` the guard only warns.
    """

    source: ModelSource
    configs: tuple[LoraConfig, ...]
    steps: StepPlan
    isolation: Literal["model", "trial"]
    data: str | None
    recipe: Recipe
    memory_limit_bytes: int | None
    start_timeout_s: float
    settings: SweepSettings
    identity: dict[str, Any]
    reading: RowReading = READ_BY_DEFAULT
    """How rows are read, as training will."""
    force: bool = False
    memory_wait_s: float = 5.0
    """Seconds that a trial waits at its start for memory that other processes may free."""
    compile_timeout_s: float = COMPILE_TIMEOUT_S
    search: Literal["fast", "exhaustive"] = "exhaustive"
    objective: Objective = Objective.SCORE
    depth: int | None = None
    """Number of hidden layers; None if the architecture does not name it."""
    recording: StoredProfile | None = None
    """Source of the measurements in a replay; None if a worker measures."""
    check: SafeCheck | None = None
    """For a check, which has no `configs`."""
    recipe_file: str | None = None
    """The file that `recipe` is from; None without one."""
    effective_batch_size: int | None = None
    """Rows of one update that were asked for: batch sizes that do not divide it are not valid."""
    hosts: HostGroup | None = None
    """The ranks that train each configuration together; None where one process does alone."""

    def tried(self, inspection: Inspection, limit_bytes: int) -> tuple[LoraConfig, ...]:
        """The configurations to try; for a check the one that is safe within `limit_bytes`."""
        if self.check is None:
            return self.configs
        return (self.check.configuration(inspection, limit_bytes),)

    @property
    def wanted(self) -> Wanted:
        """What it trains, for the worker to examine."""
        configs = self.configs if self.check is None else (self.check.like,)
        return Wanted.of(configs, self.recipe, self.recipe_file)

    @cached_property
    def naming(self) -> ConfigLabels:
        """Names for its configurations."""
        return ConfigLabels.of(self.configs)


@dataclass(frozen=True)
class SweepContext:
    """Device and model as the worker found them, and the budget that follows.

    `notes` are lines for the console's header.
    """

    device: DeviceInfo
    inspection: Inspection
    budget: Budget
    notes: tuple[str, ...] = ()


def profile_identity(plan: SweepPlan, device: DeviceInfo) -> str:
    """A digest of all that must be equal for the rows of two profiles to be one sweep's.

    A budget that was detected is not in it: it differs a little from run to run.
    """
    where = dataclasses.asdict(device)
    # What changes from run to run, and what earlier profiles do not count.
    for name in ("free_memory_bytes", "max_buffer_bytes", "max_buffers"):
        del where[name]
    # As earlier versions had it, which fixed nothing.
    like: Any = plan.check.like if plan.check else None
    if plan.check and plan.check.fixed:
        like = [like, plan.check.fixed]
    configs = sorted(str(dataclasses.astuple(each)) for each in plan.configs)
    return digest([plan.identity, where, configs, like, plan.memory_limit_bytes])


def predictor_of(
    plan: SweepPlan, earlier: Mapping[str, EarlierRuns], found: SweepContext
) -> Predictor:
    """Predictor for the plan's model, disabled for a recording that has peaks but no minima."""
    data = found.inspection.data
    return Predictor(
        plan.source,
        found.device.backend,
        found.device.name,
        inspected=found.inspection.sizes,
        steps=found.inspection.steps,
        earlier=earlier,
        longest_row=data.longest if data else None,
        recipe=plan.recipe,
        ranks=plan.settings.ranks,
        is_enabled=_has_minima(plan),
    )


def static_predictor(plan: SweepPlan) -> Predictor:
    """A predictor that needs no worker: for the backend that is installed, or was recorded."""
    recording = plan.recording
    backend = backend_of(recording.environment) if recording else installed_backend()
    earlier = read_earlier_runs(plan, backend)
    return Predictor(
        plan.source,
        backend,
        earlier=earlier,
        recipe=plan.recipe,
        ranks=plan.settings.ranks,
        is_enabled=_has_minima(plan),
    )


def _has_minima(plan: SweepPlan) -> bool:
    return plan.recording is None or plan.recording.has_minima


def estimated_weight_bytes(plan: SweepPlan) -> int | None:
    """Bytes of the base model in memory, by arithmetic; None if its shapes are unknown."""
    found = static_predictor(plan).predict(LoraConfig(1, 1, 1, 2))
    return found.weights_bytes if found else None


def read_earlier_runs(plan: SweepPlan, backend: Backend) -> dict[str, EarlierRuns]:
    """What earlier runs on this machine taught, by kind of recipe; nothing for a replay."""
    if plan.recording is not None:
        return {}
    lessons = read_lessons(_group(plan, backend))
    return earlier_runs(lessons, identity_of_shapes(plan.source))


def doubt_calibration(plan: SweepPlan, backend: Backend) -> str | None:
    """Set a damaged calibration aside before it is read; the line about it, None without one."""
    return None if plan.recording is not None else set_aside_if_damaged(_group(plan, backend))


def save_calibration(plan: SweepPlan, backend: Backend, learned: Mapping[str, Calibration]) -> None:
    """Keep what `plan`'s trials taught about this machine; a replay teaches nothing.

    Nor do several ranks, whose machines may be others.
    """
    if learned and plan.recording is None and plan.hosts is None:
        write_lessons(_group(plan, backend), identity_of_shapes(plan.source), learned)


def _group(plan: SweepPlan, backend: Backend) -> str:
    return f"{machine_id()} {kind_of_model(plan.source, backend)}"
