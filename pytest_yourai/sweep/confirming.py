"""Measures regressions of step time again, once all trials of a run have ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.store.compare.comparison import Comparison, compare
from pytest_yourai.store.compare.confirmation import (
    measured_again,
    settled,
    time_regressions,
    verdicts,
)
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.stage_runner import StageRunner


@dataclass(frozen=True)
class Confirmed:
    """What measuring again says of one stage, the results that count now, and all others."""

    model: str
    is_check: bool
    verdicts: tuple[Verdict, ...]
    results: tuple[TrialResult, ...]
    others: tuple[TrialResult, ...]


OnAgain = Callable[[Stage, list[LoraConfig]], None]
"""Called before each round with the configurations that it measures."""


def confirm(plan: RunPlan, runner: StageRunner, on_round: OnAgain) -> Iterator[Confirmed]:
    """Measure again what seems slower than the baseline, stage by stage."""
    baseline = {each.model: each for each in plan.baseline}
    for stage in plan.stages:
        sweep, before = runner.sweep_of(stage), baseline.get(stage.name)
        if sweep is None or before is None or not sweep.results:
            continue
        after = StoredProfile("this run", stage.name, dict(sweep.results))
        found = _confirm(plan, runner, stage, compare(before, after), on_round)
        if found is not None:
            yield found


def _confirm(
    plan: RunPlan, runner: StageRunner, stage: Stage, comparison: Comparison, on_round: OnAgain
) -> Confirmed | None:
    suspected = time_regressions(comparison, plan.options.thresholds)
    said: list[Verdict] = []
    rounds: list[dict[LoraConfig, TrialResult]] = []
    pending = suspected
    for _ in range(plan.options.rounds_of_confirmation):
        if not pending:
            break
        configs = measured_again(comparison, pending)
        on_round(stage, configs)
        rounds.append({config: runner.measure_again(stage, config) for config in configs})
        said = verdicts(comparison, suspected, rounds)
        pending = [
            each for each, verdict in zip(suspected, said, strict=True) if verdict.is_confirmed
        ]
    if not rounds:
        return None
    results, others = settled(comparison.after.results, rounds, said)
    return Confirmed(
        stage.name,
        stage.is_check,
        tuple(said),
        tuple(results.values()),
        tuple(dataclasses.replace(each, kept=False) for each in others),
    )
