"""Runs trials from a recording: the same questions and answers as a worker's, without MLX."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.results import Outcome, SkipReason, TrialResult
from pytest_yourai.machine.budget import NO_BUDGET, Budget, detect_budget
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.store.recording import backend_of
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.trial_record import TrialRecord
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import Diagnosis, over_budget


class ReplayRunner:
    """Answers from `recording`; the budget is applied to the recorded minimum memory."""

    last_output = Output("", "")
    last_traceback = ""

    def __init__(self, plan: SweepPlan, recording: StoredProfile) -> None:
        self._plan = plan
        self._recording = recording
        self._budget = NO_BUDGET

    def look(self) -> tuple[DeviceInfo, Inspection]:
        """What the recording says of where it was made."""
        known = self._recording.environment
        device = DeviceInfo(
            backend=backend_of(known),
            name=f"{known.device or 'unknown'}, replayed",
            memory_bytes=None,
            free_memory_bytes=None,
            mlx_version=known.versions.get("mlx", "not used"),
            mlx_lm_version=known.versions.get("mlx-lm", "not used"),
        )
        deepest = max(config.num_layers for config in self._recording.measured)
        inspection = Inspection(
            num_hidden_layers=self._plan.depth or deepest,
            parameters=0,
            lora_keys=self._recording.settings.lora_keys or (),
        )
        return device, inspection

    def detect_budget(self, device: DeviceInfo) -> Budget:
        """The user's, else the recording's, else this machine's."""
        if self._plan.memory_limit_bytes is not None:
            return Budget(self._plan.memory_limit_bytes, "as given")
        if self._recording.memory_limit_bytes is not None:
            return Budget(self._recording.memory_limit_bytes, "as in the recording")
        return detect_budget(read_system_memory(), dataclasses.replace(device, backend="cpu"))

    def stay_within(self, budget: Budget) -> None:
        self._budget = budget

    def forget(self) -> None:
        """Nothing is printed here."""

    def danger(self, floor_bytes: int | None = None) -> str | None:  # noqa: ARG002
        return None

    def available_bytes(self) -> int | None:
        """Nothing is loaded."""
        return None

    def end(self, *, because: str | None = None) -> None:
        """There is no worker."""

    def begin(self, config: LoraConfig) -> TrialRecord:
        limit_bytes = self._budget.limit_bytes
        guard = Guard(limit_bytes, read_system_memory(), forced=True)
        return TrialRecord(
            self._plan.source.name,
            config,
            self._plan.steps,
            limit_bytes,
            guard,
            where="in a replay",
        )

    def run(self, record: TrialRecord) -> TrialResult:
        """What was recorded, held against today's budget."""
        recorded = self._recording.measured.get(record.config)
        if recorded is None:
            reason = f"{self._recording.name} has no such configuration"
            return self._skipped(record.config, reason)
        result = dataclasses.replace(
            recorded,
            model=self._plan.source.name,
            memory_limit_bytes=record.memory_limit_bytes,
            started=True,
            kept=False,
        )
        if not recorded.success and recorded.outcome is not Outcome.OVER_BUDGET:
            return result
        if recorded.minimum_memory_bytes is None:
            reason = f"{self._recording.name} has neither minimum nor peak of it"
            return self._skipped(record.config, reason)
        if (result.safe_memory_bytes or 0) > record.memory_limit_bytes:
            result = dataclasses.replace(
                result,
                outcome=Outcome.OVER_BUDGET,
                # A peak that no limit held down says nothing of larger configurations.
                conclusive=self._recording.has_minima,
                peak_memory_bytes=None,
                step_times_s=(),
                step_tokens=(),
            )
            why = over_budget(recorded.minimum_memory_bytes, record.memory_limit_bytes)
            return dataclasses.replace(result, reason=why.reason, remedy=why.remedy)
        if not recorded.step_times_s:
            reason = f"{self._recording.name} stopped it after warm-up, over its own budget"
            return self._skipped(record.config, reason)
        return dataclasses.replace(result, outcome=Outcome.OK, reason=None, remedy=None)

    def give_up(self, record: TrialRecord, outcome: Outcome, reason: str) -> TrialResult:
        return record.result(Diagnosis(outcome, reason))

    def _skipped(self, config: LoraConfig, reason: str) -> TrialResult:
        return TrialResult(
            self._plan.source.name,
            config,
            Outcome.SKIPPED,
            reason,
            skip_reason=SkipReason.NOT_RECORDED,
            started=False,
        )
