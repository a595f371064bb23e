"""The best, the unbeaten, and the fastest batch for every adapter."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_yourai.core.config import FineTuneType, LoraConfig, Objective, Optimizer
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import best, fastest_batches, lightest_first, pareto
from pytest_yourai.core.results import TrialResult


def result(
    batch: int,
    rank: int,
    layers: int,
    *,
    step_s: float,
    need: int,
    length: int = 129,
    checkpoint: bool = False,
) -> TrialResult:
    return TrialResult(
        "m",
        LoraConfig(batch, rank, layers, length, checkpoint),
        Outcome.OK,
        step_times_s=(step_s,),
        step_tokens=(batch * (length - 1),),
        minimum_memory_bytes=need,
    )


def failed(batch: int, rank: int, layers: int) -> TrialResult:
    return TrialResult("m", LoraConfig(batch, rank, layers, 129), Outcome.OVER_BUDGET)


SMALL = result(1, 8, 4, step_s=0.10, need=100)
FASTER = result(2, 8, 4, step_s=0.15, need=150)
SLOWER = result(4, 8, 4, step_s=0.40, need=200)
LARGE = result(1, 16, 4, step_s=0.11, need=120)
RESULTS = [SMALL, FASTER, SLOWER, LARGE, failed(8, 16, 8)]


def test_equal_scores_are_ordered_by_speed_and_then_by_memory() -> None:
    slow = result(2, 8, 4, step_s=0.2, need=10)
    light = result(2, 8, 4, step_s=0.15, need=149)
    assert best([slow, FASTER], Objective.SCORE) is FASTER
    assert best([FASTER, light], Objective.SCORE) is light
    assert best([failed(8, 8, 8)], Objective.SCORE) is None


def test_equal_speeds_are_ordered_by_score() -> None:
    same_speed = result(1, 16, 4, step_s=0.10, need=500)
    assert best([SMALL, same_speed], Objective.TOKENS_PER_SECOND) is same_speed


def test_every_adapter_shows_its_fastest_batch_smallest_adapter_first() -> None:
    assert fastest_batches(RESULTS) == [FASTER, LARGE]


def test_unbeaten_is_what_nothing_beats_in_capacity_speed_and_memory() -> None:
    assert pareto(RESULTS) == [SMALL, FASTER, LARGE]


LONG = result(2, 8, 4, step_s=0.4, need=300, length=257)
"""As many tokens per step as SLOWER, in fewer rows; slower than FASTER."""

CHECKPOINTED = result(2, 8, 4, step_s=0.2, need=110, checkpoint=True)


def test_of_equal_scores_the_longer_rows_win_though_they_are_slower() -> None:
    assert best([FASTER, LONG], Objective.SCORE) is LONG
    assert best([LONG, SLOWER], Objective.SCORE) is SLOWER
    assert best([CHECKPOINTED, FASTER], Objective.SCORE) is FASTER
    assert best([FASTER, LONG], Objective.TOKENS_PER_SECOND) is FASTER


def test_of_equal_speeds_and_scores_the_longer_rows_win() -> None:
    as_fast = result(2, 8, 4, step_s=0.30, need=900, length=257)
    assert best([as_fast, FASTER], Objective.TOKENS_PER_SECOND) is as_fast


def test_every_adapter_length_and_checkpointing_shows_its_fastest_batch() -> None:
    assert fastest_batches([LONG, CHECKPOINTED, *RESULTS]) == [FASTER, CHECKPOINTED, LONG, LARGE]


def test_no_shorter_rows_beat_longer_ones() -> None:
    assert pareto([LONG, *RESULTS]) == [LONG, SMALL, FASTER, LARGE]
    beaten = result(1, 8, 4, step_s=0.3, need=310, length=257)
    assert pareto([LONG, beaten]) == [LONG]


def test_checkpointing_counts_by_the_memory_that_it_saves() -> None:
    assert pareto([FASTER, CHECKPOINTED]) == [FASTER, CHECKPOINTED]
    useless = result(2, 8, 4, step_s=0.2, need=150, checkpoint=True)
    assert pareto([FASTER, useless]) == [FASTER]


def of_recipe(found: TrialResult, **recipe: Any) -> TrialResult:
    return dataclasses.replace(found, config=dataclasses.replace(found.config, **recipe))


def test_what_is_trained_and_how_is_neither_better_nor_worse() -> None:
    full = of_recipe(FASTER, rank=0, fine_tune_type=FineTuneType.FULL)
    light = of_recipe(FASTER, optimizer=Optimizer.SGD)
    assert pareto([FASTER, SLOWER, full, light]) == [FASTER, full, light]


def test_updates_of_as_many_rows_are_compared_however_they_are_accumulated() -> None:
    fast = of_recipe(result(2, 8, 4, step_s=0.1, need=100), grad_accumulation_steps=8)
    slow = of_recipe(result(8, 8, 4, step_s=0.5, need=200), grad_accumulation_steps=2)
    fewer = of_recipe(result(8, 8, 4, step_s=0.5, need=200), grad_accumulation_steps=1)
    assert pareto([slow, fast]) == [fast]
    assert pareto([fewer, fast]) == [fewer, fast]
    assert fastest_batches([slow, fast]) == [fast]
    assert fastest_batches([slow, fast, fewer]) == [fewer, slow, fast]


def test_of_equal_sizes_the_recipe_that_needs_less_comes_first() -> None:
    usual = FASTER.config
    changes: list[dict[str, Any]] = [
        {"optimizer": Optimizer.SGD},
        {"lora_keys": "qv"},
        {},
        {"grad_accumulation_steps": 4},
        {"grad_accumulation_steps": 16},
        {"dropout": 0.05},
        {"lora_keys": "all"},
        {"optimizer": Optimizer.MUON},
        {"fine_tune_type": FineTuneType.DORA},
    ]
    configs = [dataclasses.replace(usual, **each) for each in changes]
    assert lightest_first(reversed(configs)) == configs
    results = [of_recipe(FASTER, **each) for each in changes]
    assert fastest_batches(reversed(results)) == results
