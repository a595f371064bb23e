"""The best, the unbeaten, and the fastest batch for every adapter."""

from __future__ import annotations

from pytest_yourai.config import LoraConfig, Objective
from pytest_yourai.optimum import best, fastest_batches, pareto
from pytest_yourai.results import Outcome, TrialResult


def result(batch: int, rank: int, layers: int, *, step_s: float, need: int) -> TrialResult:
    return TrialResult(
        "m",
        LoraConfig(batch, rank, layers, 129),
        Outcome.OK,
        step_times_s=(step_s,),
        step_tokens=(batch * 128,),
        minimum_memory_bytes=need,
    )


def failed(batch: int, rank: int, layers: int) -> TrialResult:
    return TrialResult("m", LoraConfig(batch, rank, layers, 129), Outcome.OVER_BUDGET)


SMALL = result(1, 8, 4, step_s=0.10, need=100)
FASTER = result(2, 8, 4, step_s=0.15, need=150)
SLOWER = result(4, 8, 4, step_s=0.40, need=200)
LARGE = result(1, 16, 4, step_s=0.11, need=120)
RESULTS = [SMALL, FASTER, SLOWER, LARGE, failed(8, 16, 8)]


def test_equal_scores_are_told_apart_by_speed_and_then_by_memory() -> None:
    slow = result(2, 8, 4, step_s=0.2, need=10)
    light = result(2, 8, 4, step_s=0.15, need=149)
    assert best([slow, FASTER], Objective.SCORE) is FASTER
    assert best([FASTER, light], Objective.SCORE) is light
    assert best([failed(8, 8, 8)], Objective.SCORE) is None


def test_equal_speeds_are_told_apart_by_score() -> None:
    same_speed = result(1, 16, 4, step_s=0.10, need=500)
    assert best([SMALL, same_speed], Objective.TOKENS_PER_SECOND) is same_speed


def test_every_adapter_shows_its_fastest_batch_smallest_adapter_first() -> None:
    assert fastest_batches(RESULTS) == [FASTER, LARGE]


def test_unbeaten_is_what_nothing_beats_in_capacity_speed_and_memory() -> None:
    assert pareto(RESULTS) == [SMALL, FASTER, LARGE]
