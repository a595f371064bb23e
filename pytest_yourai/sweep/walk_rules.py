"""Rules that skip a stage of a walk, from the results of the stages before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_yourai.core.results import Skip, SkipReason, TrialResult
from pytest_yourai.plan.stages import Stage
from pytest_yourai.plan.sweep_plan import estimated_weight_bytes
from pytest_yourai.sweep.preflight import dominated_by


def reason_to_skip(stage: Stage, results: Mapping[Stage, Sequence[TrialResult]]) -> Skip | None:
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
