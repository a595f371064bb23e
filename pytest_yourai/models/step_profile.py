"""The highest moments of a training step that was traced, for every batch size and rank."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import pydantic

from pytest_yourai.core.config import LoraConfig


class Holding(StrEnum):
    """What an array of a step is of."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    OPTIMIZER = "optimizer"
    GRADIENTS = "gradients"
    ACTIVATIONS = "activations"
    LOGITS = "logits"


PARTS = tuple(Holding)

MOST_POWER = 2

POWERS = tuple(itertools.product(range(MOST_POWER + 1), repeat=2))
"""Of batch size and rank, in the terms of a moment."""

_Factor = Annotated[float, pydantic.Field(allow_inf_nan=False)]


_Moments = tuple[tuple[_Factor, ...], ...]


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Moments of a step, none of which another one exceeds in all terms.

    A moment has, by `PARTS` and within them by `POWERS`, the factor in bytes. Which arrays live at
    the same time depends on where in MLX's tasks the step begins: `moments` has them for several
    such phases. `free_moments` are those of a step that no limit makes wait; empty where they are
    not known.
    """

    moments: tuple[_Moments, ...]
    free_moments: tuple[_Moments, ...] = ()

    @classmethod
    def of(cls, profiles: Iterable[StepProfile]) -> StepProfile:
        """The profile of whichever of several steps holds most."""
        kinds = zip(*((each.moments, each.free_moments) for each in profiles), strict=True)
        return cls(*map(_joined, kinds))

    def highest(self, batch_size: int, rank: int) -> dict[Holding, int]:
        """Bytes of each part at the highest moment, in the phase where that is the median."""
        return _median_highest(self.moments, batch_size, rank)

    def peak_bytes(self, batch_size: int, rank: int) -> int | None:
        """Bytes at the highest moment without a limit; None where that is not known."""
        if not self.free_moments:
            return None
        return sum(_median_highest(self.free_moments, batch_size, rank).values())


def _joined(steps: Iterable[tuple[_Moments, ...]]) -> tuple[_Moments, ...]:
    """The moments of several steps, phase by phase."""
    return tuple(tuple(itertools.chain(*phase)) for phase in zip(*steps, strict=True))


def _median_highest(phases: tuple[_Moments, ...], batch_size: int, rank: int) -> dict[Holding, int]:
    highest = (_highest(moments, batch_size, rank) for moments in phases)
    ordered = sorted(highest, key=lambda each: sum(each.values()))
    return ordered[len(ordered) // 2]


def _highest(moments: _Moments, batch_size: int, rank: int) -> dict[Holding, int]:
    terms = [batch_size**batch * rank**ranks for batch, ranks in POWERS]
    highest = max(([*_sums(moment, terms)] for moment in moments), key=sum)
    return {part: round(size) for part, size in zip(PARTS, highest, strict=True)}


def _sums(moment: tuple[float, ...], terms: Sequence[int]) -> Iterator[float]:
    """Bytes of each part."""
    for start in range(0, len(moment), len(terms)):
        factors = moment[start : start + len(terms)]
        yield sum(factor * term for factor, term in zip(factors, terms, strict=True))


def step_kind(config: LoraConfig, max_seq_length: int) -> str:
    """A name for the steps of one profile: those that differ in batch size and rank alone.

    `max_seq_length` is the width of the longest batch, in tokens.
    """
    like = dataclasses.replace(
        config,
        batch_size=1,
        rank=1,
        max_seq_length=max_seq_length,
        dropout=0.5 * (config.dropout > 0),
        grad_accumulation_steps=min(config.grad_accumulation_steps, 2),
    )
    return " ".join(str(value) for value in dataclasses.astuple(like))
