"""What is known of a trial before it starts, and what of that is written down."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.results import ModelSize, Outcome, Skip, SkipReason, TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.machine.system_memory import ProcessUse, largest_processes, read_system_memory
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.sweep.search.sweep_search import SweepSearch
from pytest_yourai.sweep.trial_runner import Runner

LEAST_AVAILABLE_BYTES = 2_000_000_000
"""With less no model of a walk is loaded."""

_BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a model asks of the machine in one configuration, before it is loaded. Bytes.

    `holders` are the processes that hold most memory, where more than there is may be needed.
    """

    config: LoraConfig
    available_bytes: int
    weights_bytes: int
    minimum_bytes: int
    conservative_bytes: int
    holders: tuple[ProcessUse, ...] = ()

    @property
    def missing_bytes(self) -> int:
        """What had better be freed first."""
        return max(0, self.conservative_bytes - self.available_bytes)


def preflight(
    config: LoraConfig, prediction: Prediction, available_bytes: int, *, shares_memory: bool
) -> Preflight:
    """The figures of `prediction` against what is available now.

    Who holds memory matters where the device shares the machine's (`shares_memory`).
    """
    found = Preflight(
        config=config,
        available_bytes=available_bytes,
        weights_bytes=prediction.weights_bytes,
        minimum_bytes=prediction.minimum_bytes,
        conservative_bytes=prediction.conservative_bytes,
    )
    if not found.missing_bytes or not shares_memory:
        return found
    return dataclasses.replace(found, holders=largest_processes())


def preflight_fields(prediction: Prediction) -> dict[str, float]:
    """Of the journal's `preflight_check`. GB (1e9 bytes)."""
    return {
        "available_gb": read_system_memory().available_bytes / _BYTES_PER_GB,
        "estimated_base_gb": prediction.weights_bytes / _BYTES_PER_GB,
        "estimated_minimum_gb": prediction.minimum_bytes / _BYTES_PER_GB,
        "estimated_conservative_gb": prediction.conservative_bytes / _BYTES_PER_GB,
    }


def predicted_over(prediction: Prediction, limit_bytes: int) -> Skip:
    """Why a trial is not run whose prediction is surely over the budget."""
    return Skip(
        SkipReason.PREDICTED_OVER_BUDGET,
        f"predicted over the budget of {gigabytes(limit_bytes)}: needs {prediction}, and the "
        "margin",
        "add --yourai-force to run it",
    )


def dominated_by(smaller: str, failed: TrialResult) -> Skip:
    """Why a trial is not run that needs at least as much as `failed`, which is called `smaller`."""
    reason = f"no smaller than {smaller}, which failed for memory ({failed.outcome})"
    return Skip(SkipReason.DOMINATED, reason)


def too_heavy(size: ModelSize | None, limit_bytes: int) -> str | None:
    """Why a model cannot fit whose weights alone are over the budget; None where they are not.

    No prediction: the worker builds the model without allocating it, and counts its bytes.
    """
    if size is None or size.weight_bytes * SAFETY_MARGIN <= limit_bytes:
        return None
    return (
        f"its weights alone take {gigabytes(size.weight_bytes)}, with the margin "
        f"{gigabytes(size.weight_bytes * SAFETY_MARGIN)}, over the budget of "
        f"{gigabytes(limit_bytes)}"
    )


_WAIT_STEP_S = 0.25


class TrialChecks:
    """Of one sweep. `size` is None where the model's is not known."""

    def __init__(
        self,
        plan: SweepPlan,
        surroundings: SweepContext,
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
        skip = self._reason_to_skip(config, prediction, failures)
        return self._skipped(config, skip) if skip else None

    def expects_trial(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> bool:
        """Whether nothing that is known by now speaks against a trial."""
        if self._reason_to_skip(config, prediction, failures):
            return False
        is_over = prediction is not None and prediction.is_surely_over(self._limit_bytes)
        return self._plan.force or not is_over

    def refused(self, config: LoraConfig, prediction: Prediction | None) -> TrialResult | None:
        """A result in the place of a trial that is too large, or too dangerous now; else None."""
        if self._plan.check is not None:
            if reason := too_heavy(self._size, self._limit_bytes):
                name = self._plan.source.name
                return TrialResult(name, config, Outcome.OVER_BUDGET, reason, started=False)
        elif (
            prediction is not None
            and config != self._search.chosen
            and prediction.is_surely_over(self._limit_bytes)
        ):
            return self._skipped(config, predicted_over(prediction, self._limit_bytes))
        if danger := self._lasting_danger():
            return TrialResult(
                self._plan.source.name,
                config,
                Outcome.SAFETY_STOP,
                f"not started: {danger}",
                "close programs, or add --yourai-force",
                started=False,
                conclusive=False,
            )
        return None

    def _skipped(self, config: LoraConfig, skip: Skip) -> TrialResult:
        return TrialResult(
            self._plan.source.name,
            config,
            Outcome.SKIPPED,
            skip.reason,
            skip.remedy,
            skip_reason=skip.rule,
            started=False,
        )

    def _reason_to_skip(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> Skip | None:
        if config.num_layers > self._depth:
            reason = f"not valid for this model, which has {self._depth} layers"
            return Skip(SkipReason.INVALID, reason)
        if self._rows is not None and config.batch_size > self._rows:
            reason = f"not valid for this data, which has fewer rows than {config.batch_size}"
            return Skip(SkipReason.INVALID, reason)
        name, predicted = self._plan.source.name, prediction.minimum_bytes if prediction else None
        failed = dominating_failure(config, failures, name, self._size, predicted)
        if self._search.stopped is None and failed is not None:
            if self._search.doubts(failed, config):
                return None
            whose = "" if failed.model == name else f"{failed.model} with "
            return dominated_by(f"{whose}{self._plan.naming.name(failed.config)}", failed)
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


def dominating_failure(
    config: LoraConfig,
    results: Iterable[TrialResult],
    model: str,
    size: ModelSize | None,
    predicted_bytes: int | None = None,
) -> TrialResult | None:
    """The first result that failed for memory with no more of anything than `config`.

    Results of another model count where that one is known to be no larger than `model`, and not
    predicted to need more than `predicted_bytes`, what `config` is: vocabularies differ.
    """

    def is_no_larger(result: TrialResult) -> bool:
        if result.model == model:
            return True
        others = result.predicted_minimum_memory_bytes
        return (
            size is not None
            and result.size is not None
            and size.is_at_least(result.size)
            and (others is None or predicted_bytes is None or others <= predicted_bytes)
        )

    return next(
        (
            result
            for result in results
            if result.prunes_larger
            and config.needs_at_least_as_much_as(result.config)
            and is_no_larger(result)
        ),
        None,
    )
