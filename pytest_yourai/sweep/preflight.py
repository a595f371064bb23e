"""Rules that skip or refuse a trial, or a stage of a walk, before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.hosts import rank_share
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import ModelSize, TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.machine.guard import too_little_left
from pytest_yourai.machine.system_memory import ProcessUse, largest_processes, read_system_memory
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.stages import Stage
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan, estimated_weight_bytes
from pytest_yourai.sweep.device_limits import over_a_limit
from pytest_yourai.sweep.search.sweep_search import SweepSearch
from pytest_yourai.sweep.validity import why_not_valid

LEAST_AVAILABLE_BYTES = 2_000_000_000
"""No model of a walk is loaded with less."""

_WAIT_STEP_S = 0.25

_SMALLER_MODEL = "choose a smaller model, or one with fewer bits, or a larger --yourai-max-memory"


@dataclass(frozen=True, slots=True)
class Preflight:
    """The memory that a model is predicted to take in one configuration, and what is there. Bytes.

    `holders` are the processes with most memory, where more than what is available may be needed.
    """

    config: LoraConfig
    available_bytes: int
    weights_bytes: int
    minimum_bytes: int
    conservative_bytes: int
    holders: tuple[ProcessUse, ...] = ()

    @property
    def missing_bytes(self) -> int:
        """The memory that should be freed first."""
        return max(0, self.conservative_bytes - self.available_bytes)


def preflight(config: LoraConfig, prediction: Prediction, device: DeviceInfo) -> Preflight | None:
    """The figures of `prediction` against what is available now; None where nobody knows that.

    Other processes matter where the device shares the machine's memory.
    """
    available_bytes = read_system_memory().available_bytes
    if device.has_own_memory:
        if device.free_memory_bytes is None:
            return None
        available_bytes = device.free_memory_bytes
    is_short = prediction.conservative_bytes > available_bytes
    return Preflight(
        config=config,
        available_bytes=available_bytes,
        weights_bytes=prediction.weights_bytes,
        minimum_bytes=prediction.minimum_bytes,
        conservative_bytes=prediction.conservative_bytes,
        holders=largest_processes() if is_short and not device.has_own_memory else (),
    )


def dominated_by(smaller: str, failed: TrialResult) -> Skip:
    """The skip of a trial that needs at least as much as `failed`, which is called `smaller`."""
    reason = f"no smaller than {smaller}, which failed for memory ({failed.outcome})"
    return Skip(SkipReason.DOMINATED, reason)


def too_heavy(size: ModelSize | None, limit_bytes: int) -> str | None:
    """Why a model cannot fit, if its weights alone are over the budget; None where they are not.

    This is no prediction: the worker builds the model without allocating it, and counts its bytes.
    """
    if size is None or size.weight_bytes * SAFETY_MARGIN <= limit_bytes:
        return None
    return (
        f"its weights alone take {gigabytes(size.weight_bytes)}, with the margin "
        f"{gigabytes(size.weight_bytes * SAFETY_MARGIN)}, over the budget of "
        f"{gigabytes(limit_bytes)}"
    )


def model_size(inspection: Inspection) -> ModelSize | None:
    """The size of a model that was inspected; None where its layers are not known."""
    sizes = next(iter(inspection.sizes.values()), None)
    return ModelSize(inspection.parameters, sizes.weight_bytes) if sizes else None


@dataclass(frozen=True)
class TrialChecks:
    """The rules of one sweep. `end_worker` frees the memory of its worker, for a reason."""

    plan: SweepPlan
    context: SweepContext
    search: SweepSearch
    end_worker: Callable[[str], object]

    @property
    def _limit_bytes(self) -> int:
        return self.context.budget.limit_bytes

    def expects_trial(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> bool:
        """True if nothing that is known by now speaks against a trial."""
        if self.skip(config, prediction, failures):
            return False
        is_over = prediction is not None and prediction.is_surely_over(self._limit_bytes)
        return self.plan.force or not (is_over or self._over_device_limit(config))

    def refusal(self, config: LoraConfig, prediction: Prediction | None) -> TrialResult | None:
        """The result of a trial that is too large, or unsafe now; None where it may start."""
        name = self.plan.source.name
        if skip := self._over_device_limit(config):
            return TrialResult.skipped(name, config, skip)
        if (
            prediction is not None
            and self.plan.check is None
            and config != self.search.chosen
            and prediction.is_surely_over(self._limit_bytes)
        ):
            return TrialResult.skipped(name, config, self._predicted_over(prediction))
        is_real = self.plan.check is not None or self.plan.recording is None
        size = model_size(self.context.inspection) if is_real else None
        if reason := too_heavy(size, self._limit_bytes):
            end = Outcome.OVER_BUDGET, reason, _SMALLER_MODEL
            return TrialResult(name, config, *end, started=False)
        if self.plan.recording is None and (reason := self._unsafe_reason()):
            return TrialResult(
                name,
                config,
                Outcome.SAFETY_STOP,
                f"not started: {reason}",
                "close programs, or add --yourai-force",
                started=False,
                conclusive=False,
            )
        return None

    def _over_device_limit(self, config: LoraConfig) -> Skip | None:
        """The skip of a trial that needs a larger array, or more arrays, than the device allows."""
        share = rank_share(config, self.plan.settings.ranks)
        found = over_a_limit(share, self.plan.source, self.context.inspection, self.context.device)
        if found is None:
            return None
        reason, remedy = found
        return Skip(SkipReason.OVER_DEVICE_LIMIT, reason, f"{remedy}; --yourai-force runs it")

    def _predicted_over(self, prediction: Prediction) -> Skip:
        over = f"predicted over the budget of {gigabytes(self._limit_bytes)}"
        reason = f"{over}: needs {prediction}, and the margin"
        return Skip(SkipReason.PREDICTED_OVER_BUDGET, reason, "add --yourai-force to run it")

    def skip(
        self, config: LoraConfig, prediction: Prediction | None, failures: Iterable[TrialResult]
    ) -> Skip | None:
        """Why a trial can show nothing new; None where it can.

        `failures` are what failed for memory so far.
        """
        plan, inspection = self.plan, self.context.inspection
        ranks = plan.settings.ranks
        if skip := why_not_valid(config, inspection, plan.effective_batch_size, ranks):
            return skip
        name, predicted = self.plan.source.name, prediction.minimum_bytes if prediction else None
        failed = dominating_failure(
            config, failures, name, model_size(self.context.inspection), predicted
        )
        if self.search.stopped is None and failed is not None:
            if self.search.doubts(failed, config):
                return None
            whose = "" if failed.model == name else f"{failed.model} with "
            return dominated_by(f"{whose}{self.plan.naming.name(failed.config)}", failed)
        return self.search.reason_to_skip(config)

    def _unsafe_reason(self) -> str | None:
        """Why no trial may start, even without our own worker and after a while; else None."""
        floor_bytes = LEAST_AVAILABLE_BYTES if self.plan.check else None
        reason = too_little_left(read_system_memory(), floor_bytes)
        if reason is None:
            return None
        self.end_worker(f"to free its memory: {reason}")
        deadline = time.monotonic() + self.plan.memory_wait_s
        while reason is not None and time.monotonic() < deadline:
            time.sleep(_WAIT_STEP_S)
            reason = too_little_left(read_system_memory(), floor_bytes)
        return reason


def dominating_failure(
    config: LoraConfig,
    results: Iterable[TrialResult],
    model: str,
    size: ModelSize | None,
    predicted_bytes: int | None = None,
) -> TrialResult | None:
    """The first result that failed for memory with no more of anything than `config`.

    Results of another model count where that one is known to be no larger than `model`, of `size`,
    and not predicted to need more than `predicted_bytes`, as `config` is: vocabularies differ.
    """
    for result in results:
        if not (result.prunes_larger and config.needs_at_least_as_much_as(result.config)):
            continue
        if result.model == model:
            return result
        others = result.predicted_minimum_memory_bytes
        if others is not None and predicted_bytes is not None and others > predicted_bytes:
            continue
        if size and result.size and size.is_at_least(result.size):
            return result
    return None


def reason_to_skip_stage(
    stage: Stage, results: Mapping[Stage, Sequence[TrialResult]]
) -> Skip | None:
    """Why `stage` must not run, given the `results` of other stages; None if it may.

    A check is skipped once a smaller model has failed for memory, a sweep if its check failed.
    """
    if stage.is_check:
        return _smaller_failure(stage, results)
    for other, found in results.items():
        if other.is_check and other.name == stage.name and found and not found[0].success:
            reason = f"not swept: its safe configuration ended as {found[0].outcome}"
            return Skip(SkipReason.CHECK_FAILED, reason)
    return None


def _smaller_failure(stage: Stage, results: Mapping[Stage, Sequence[TrialResult]]) -> Skip | None:
    failures = [
        (other, each)
        for other, found in results.items()
        if other is not stage and other.is_check
        for each in found
        if each.prunes_larger
    ]
    if not failures or stage.parameters is None:
        return None
    weight_bytes = estimated_weight_bytes(stage.setup.plan) if stage.setup else None
    for other, failed in failures:
        has_lighter_weights = (
            weight_bytes is not None
            and failed.size is not None
            and weight_bytes < failed.size.weight_bytes
        )
        if stage.parameters >= (other.parameters or 0) and not has_lighter_weights:
            return dominated_by(other.name, failed)
    return None
