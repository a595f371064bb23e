"""What fits, by estimate, instead of what a sweep or a walk found not to fit."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.ranking import lightest_first, score_and_length
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.plan.nearest_fits import NearestFit, nearest_fits
from pytest_yourai.plan.sweep_plan import SweepContext, SweepPlan
from pytest_yourai.sweep.stage_results import StageResults


def nearest_to_lightest(found: StageResults) -> list[NearestFit] | None:
    """What fits instead of the lightest configuration of a sweep in which nothing fits."""
    by_config = {each.config: each for each in found.results if _is_over(each)}
    lightest = lightest_first(by_config)
    return nearest_to(found, by_config[lightest[0]]) if lightest else None


def nearest_to(found: StageResults, wanted: TrialResult) -> list[NearestFit] | None:
    """What fits instead of `wanted`; None where the model is not known or cannot be estimated."""
    setup, context = found.stage.setup, found.context
    if setup is None or context is None:
        return None
    return fits_near(wanted, setup.plan, context, context.budget.limit_bytes)


def fits_near(
    wanted: TrialResult, plan: SweepPlan, context: SweepContext, budget_bytes: float
) -> list[NearestFit] | None:
    """What fits a budget instead of `wanted`; None where the model cannot be estimated."""
    data = context.inspection.data
    try:
        return nearest_fits(
            plan.source,
            wanted.config,
            budget_bytes,
            backend=context.device.backend,
            recipe=plan.recipe,
            device=context.device.name,
            longest_row=data.longest if data else None,
            measured_bytes=_needs(wanted),
            ranks=plan.settings.ranks,
        )
    except ModelError:
        return None


def check_line(found: StageResults, result: TrialResult) -> Iterator[str]:
    """For a model of a walk that is over the budget: the nearest that fits, and its flags."""
    if _is_over(result) and (fits := nearest_to(found, result)):
        nearest = fits[0]
        yield (
            f"Fits by estimate with {nearest.change}: needs {gigabytes(nearest.needs_bytes)}; "
            f"{' '.join(nearest.flags)}"
        )


def largest_that_lacks_memory(found: StageResults) -> TrialResult | None:
    """The largest configuration that does not fit; None if all do."""
    over = [each for each in found.results if _is_over(each)]
    return max(over, key=lambda each: score_and_length(each.config), default=None)


def _is_over(result: TrialResult) -> bool:
    return result.lacks_memory or result.skip_reason is SkipReason.DOMINATED


def _needs(result: TrialResult) -> int | None:
    return result.minimum_memory_bytes or result.predicted_minimum_memory_bytes
