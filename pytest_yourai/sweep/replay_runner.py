"""Runs trials from a recording, without a worker and without MLX."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.machine.budget import Budget, detect_budget
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.store.recording import backend_of
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.trial_runner import TrialRecord
from pytest_yourai.worker.diagnosis import over_budget


def recorded_context(plan: SweepPlan, recording: StoredProfile) -> SweepContext:
    """The device and the model of a recording, and the budget for a replay of it."""
    known = recording.environment
    device = DeviceInfo(
        backend=backend_of(known),
        name=f"{known.device or 'unknown'}, replayed",
        memory_bytes=None,
        free_memory_bytes=None,
        mlx_version=known.versions.get("mlx", "not used"),
        mlx_lm_version=known.versions.get("mlx-lm", "not used"),
    )
    deepest = max(config.num_layers for config in recording.measured)
    inspection = Inspection(
        num_hidden_layers=plan.depth or deepest,
        parameters=0,
        lora_keys={config.lora_keys: recording.settings.lora_keys or () for config in plan.configs},
    )
    return SweepContext(device, inspection, _budget(plan, recording, device))


def _budget(plan: SweepPlan, recording: StoredProfile, device: DeviceInfo) -> Budget:
    """The user's, else the recording's, else this machine's."""
    if plan.memory_limit_bytes is not None:
        return Budget(plan.memory_limit_bytes, "as given")
    if recording.memory_limit_bytes is not None:
        return Budget(recording.memory_limit_bytes, "as in the recording")
    return detect_budget(read_system_memory(), dataclasses.replace(device, backend="cpu"))


def replay_trial(recording: StoredProfile, record: TrialRecord) -> TrialResult:
    """The recorded trial, as it ends within the budget of `record`."""
    found = recording.measured.get(record.config)
    if found is None:
        return _not_recorded(recording, record, "has no such configuration")
    recorded = dataclasses.replace(found, model=record.model, started=True, kept=False)
    if not found.success and found.outcome is not Outcome.OVER_BUDGET:
        return recorded
    if found.minimum_memory_bytes is None:
        return _not_recorded(recording, record, "has neither minimum nor peak of it")
    limit_bytes = record.guard.budget_bytes
    if (found.safe_memory_bytes or 0) > limit_bytes:
        end = over_budget(found.minimum_memory_bytes, limit_bytes)
        return dataclasses.replace(
            recorded,
            outcome=end.outcome,
            reason=end.reason,
            remedy=end.remedy,
            # A peak that no limit held down proves nothing about larger configurations.
            conclusive=recording.has_minima,
            peak_memory_bytes=None,
            step_times_s=(),
            step_tokens=(),
        )
    if not found.step_times_s:
        return _not_recorded(recording, record, "stopped it after warm-up, over its own budget")
    return _fitting(recorded, limit_bytes)


def _fitting(recorded: TrialResult, limit_bytes: int) -> TrialResult:
    """The success that it is within the budget, which may be less than it took."""
    fitting = dataclasses.replace(
        recorded, outcome=Outcome.OK, reason=None, remedy=None, memory_limit_bytes=limit_bytes
    )
    if not fitting.exceeds_budget:
        return fitting
    return dataclasses.replace(fitting, warnings=(*fitting.warnings, RECORDED_WITHOUT_BUDGET))


def _not_recorded(recording: StoredProfile, record: TrialRecord, why: str) -> TrialResult:
    reason = f"{recording.name} {why}"
    skip = Skip(SkipReason.NOT_RECORDED, reason, "measure it without --yourai-replay")
    return TrialResult.skipped(record.model, record.config, skip)
