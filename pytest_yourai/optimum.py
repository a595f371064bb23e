"""Which of the measured configurations is best."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_yourai.config import Objective
from pytest_yourai.results import TrialResult


def _rank(result: TrialResult, objective: Objective) -> tuple[float, float, float]:
    score = float(result.config.throughput_score)
    speed = result.tokens_per_second or 0.0
    need = float(result.minimum_memory_bytes or 0)
    if objective is Objective.SCORE:
        return (score, speed, -need)
    return (speed, score, -need)


def best(results: Iterable[TrialResult], objective: Objective) -> TrialResult | None:
    """The best result that is ok, or None.

    Equal ones are told apart by the other objective, then by less minimum memory.
    """
    return max(
        (result for result in results if result.success),
        key=lambda result: _rank(result, objective),
        default=None,
    )


def pareto(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The results that no other beats in one of capacity, speed and memory without losing another.

    Capacity is rank × adapted layers; speed tokens per second; memory the minimum.
    """
    points = [(result, _qualities(result)) for result in results if result.success]
    return [
        result
        for result, own in points
        if not any(
            other != own and all(theirs >= mine for theirs, mine in zip(other, own, strict=True))
            for _, other in points
        )
    ]


def _qualities(result: TrialResult) -> tuple[float, float, float]:
    return (
        float(result.config.rank * result.config.num_layers),
        result.tokens_per_second or 0.0,
        -float(result.minimum_memory_bytes or 0),
    )


def fastest_batches(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Of each rank × layers that fits, the batch size with most tokens per second.

    Ascending adapter capacity, then rank.
    """
    groups: dict[tuple[int, int], list[TrialResult]] = {}
    for result in results:
        if result.success:
            shape = (result.config.rank, result.config.num_layers)
            groups.setdefault(shape, []).append(result)
    fastest = [
        max(group, key=lambda result: _rank(result, Objective.TOKENS_PER_SECOND))
        for group in groups.values()
    ]
    return sorted(
        fastest,
        key=lambda result: (result.config.rank * result.config.num_layers, result.config.rank),
    )
