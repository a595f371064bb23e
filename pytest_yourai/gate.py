"""What need not, cannot or must not be tried, and why: asked before each trial."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pytest_yourai.config import LoraConfig
from pytest_yourai.prediction import Prediction
from pytest_yourai.preflight import LEAST_AVAILABLE_BYTES, refusal, too_heavy
from pytest_yourai.results import RULED_OUT, ModelSize, Outcome, TrialResult
from pytest_yourai.runner import Runner
from pytest_yourai.search import dominating_failure
from pytest_yourai.sweep_plan import Surroundings, SweepPlan
from pytest_yourai.sweep_search import SweepSearch

_WAIT_STEP_S = 0.25


class Gate:
    """Of one sweep. `size` is None where the model's is not known."""

    def __init__(
        self,
        plan: SweepPlan,
        surroundings: Surroundings,
        size: ModelSize | None,
        runner: Runner,
        search: SweepSearch,
    ) -> None:
        self._plan = plan
        self._limit_bytes = surroundings.budget.limit_bytes
        self._depth = surroundings.inspection.num_hidden_layers
        data = surroundings.inspection.data
        self._rows = data.rows if data else None
        self._size = size
        self._runner = runner
        self._search = search

    def not_needed(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> TrialResult | None:
        """A result in the place of a trial that can tell nothing new; None where it can.

        `failures` are what failed for memory so far.
        """
        if reason := self._reason_to_skip(config, prediction, failures):
            return self._not_started(config, Outcome.SKIPPED, reason)
        return None

    def refused(self, config: LoraConfig, prediction: Prediction | None) -> TrialResult | None:
        """A result in the place of a trial that is too large, or too dangerous now; else None."""
        if self._plan.check is not None:
            if reason := too_heavy(self._size, self._limit_bytes):
                return self._not_started(config, Outcome.OVER_BUDGET, reason)
        elif (
            prediction is not None
            and config != self._search.chosen
            and prediction.is_surely_over(self._limit_bytes)
        ):
            reason = refusal(prediction, self._limit_bytes)
            return self._not_started(config, Outcome.SKIPPED, reason)
        if danger := self._lasting_danger():
            reason = f"not started: {danger}; close programs, or add --yourai-force"
            return self._not_started(config, Outcome.SAFETY_STOP, reason)
        return None

    def _not_started(self, config: LoraConfig, outcome: Outcome, reason: str) -> TrialResult:
        conclusive = outcome is not Outcome.SAFETY_STOP
        return TrialResult(
            self._plan.source.name, config, outcome, reason, started=False, conclusive=conclusive
        )

    def _reason_to_skip(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> str | None:
        if config.num_layers > self._depth:
            return f"not valid for this model, which has {self._depth} layers"
        if self._rows is not None and config.batch_size > self._rows:
            return f"not valid for this data, which has fewer rows than {config.batch_size}"
        name, predicted = self._plan.source.name, prediction.minimum_bytes if prediction else None
        failed = dominating_failure(config, failures, name, self._size, predicted)
        if self._search.stopped is None and failed is not None:
            if self._search.doubts(failed, config):
                return None
            whose = "" if failed.model == name else f"{failed.model} with "
            smaller = f"{whose}{self._plan.naming.name(failed.config)}"
            return f"{RULED_OUT} {smaller}, which failed for memory ({failed.outcome})"
        return self._search.reason_to_skip(config)

    def _lasting_danger(self) -> str | None:
        """Why no trial may start, even without our own worker and after a while; else None."""
        floor_bytes = LEAST_AVAILABLE_BYTES if self._plan.check else None
        danger = self._runner.danger(floor_bytes)
        if danger is None:
            return None
        self._runner.end(because=f"to free its memory: {danger}")
        deadline = time.monotonic() + self._plan.memory_wait_s
        while danger is not None and time.monotonic() < deadline:
            time.sleep(_WAIT_STEP_S)
            danger = self._runner.danger(floor_bytes)
        return danger
