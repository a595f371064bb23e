"""The three answers of a sweep: the largest, the fastest and the leanest configuration."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_yourai.core.config import Objective
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.ranking import best_first
from pytest_yourai.core.results import TrialResult

NEAR_THE_FASTEST = 0.03
"""The share of the fastest's tokens per second that the leanest may lack."""


class Pick(enum.StrEnum):
    """Which of the answers to take."""

    LARGEST = "largest"
    FASTEST = "fastest"
    LEANEST = "leanest"

    @property
    def objective(self) -> Objective:
        """What it has most of, itself or within 3 %."""
        return Objective.SCORE if self is Pick.LARGEST else Objective.TOKENS_PER_SECOND

    @classmethod
    def of(cls, objective: Objective) -> Pick:
        """The answer that is best by `objective`."""
        return cls.LARGEST if objective is Objective.SCORE else cls.FASTEST


@dataclass(frozen=True)
class Answers:
    """Results that are ok, one of which may be several answers.

    `largest` has the highest score, `fastest` the most tokens per second, and `leanest` the least
    minimum memory of those within 3 % of the fastest. All are None where nothing fits; the last
    two also where no speed is known.
    """

    largest: TrialResult | None
    fastest: TrialResult | None
    leanest: TrialResult | None

    def pick(self, which: Pick) -> TrialResult | None:
        """The answer called `which`."""
        found: TrialResult | None = getattr(self, which.value)
        return found

    def names(self, result: TrialResult) -> tuple[Pick, ...]:
        """The answers that `result` is."""
        return tuple(each for each in Pick if self.pick(each) is result)

    def __iter__(self) -> Iterator[tuple[tuple[Pick, ...], TrialResult]]:
        """Each result once, with all the answers that it is, in their order."""
        for which in Pick:
            result = self.pick(which)
            if result is not None and self.names(result)[0] is which:
                yield self.names(result), result


def find_answers(results: Iterable[TrialResult]) -> Answers:
    """The answers among `results`; equal ones are told apart as by `core.ranking`."""
    by_score = best_first(results, Objective.SCORE)
    by_speed = best_first(
        (each for each in by_score if each.tokens_per_second), Objective.TOKENS_PER_SECOND
    )
    return Answers(
        largest=next(iter(by_score), None),
        fastest=next(iter(by_speed), None),
        leanest=_leanest(by_speed),
    )


def _leanest(by_speed: list[TrialResult]) -> TrialResult | None:
    """The least minimum memory of those near the first; the fastest of equal ones."""
    if not by_speed:
        return None
    least = (by_speed[0].tokens_per_second or 0) * (1 - NEAR_THE_FASTEST)
    near = [each for each in by_speed if (each.tokens_per_second or 0) >= least]
    return min(near, key=lambda each: each.minimum_memory_bytes or 0)


def headlined(
    answers: Answers, results: Iterable[TrialResult], objective: Objective
) -> TrialResult | None:
    """The one of `answers` that comes first; the largest where no speed is known."""
    return answers.pick(headline(results, objective)) or answers.largest


def headline(results: Iterable[TrialResult], objective: Objective) -> Pick:
    """The answer that comes first: by `objective`, and the fastest where only batches differ.

    `results` are all of a sweep, with those that did not fit.
    """
    every = list(results)
    adapters = {(each.config.rank, each.config.num_layers) for each in every}
    if len(adapters) == 1 and not is_searched(every):
        return Pick.FASTEST
    return Pick.of(objective)


def is_searched(results: Iterable[TrialResult]) -> bool:
    """True if a fast search left out some, so that the best by its objective alone is known."""
    return any(each.skip_reason is SkipReason.SEARCH_IS_DONE for each in results)
