"""The highest moments of a training step that was traced, for every batch size and rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
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

POWERS = tuple(product(range(MOST_POWER + 1), repeat=2))
"""Of batch size and rank, in the terms of a moment."""

_Factor = Annotated[float, pydantic.Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Moments of a step, none of which another one exceeds in all terms.

    A moment has, by `PARTS` and within them by `POWERS`, the factor in bytes.
    """

    moments: tuple[tuple[_Factor, ...], ...]

    @classmethod
    def of(cls, profiles: Iterable[StepProfile]) -> StepProfile:
        """The profile of whichever of several steps holds most."""
        return cls(tuple(moment for profile in profiles for moment in profile.moments))

    def highest(self, batch_size: int, rank: int) -> dict[Holding, int]:
        """Bytes of each part at the highest moment."""
        import numpy as np  # noqa: PLC0415 - a fifth of a worker's start, which only sends profiles

        table = np.array(self.moments).reshape(len(self.moments), len(PARTS), len(POWERS))
        terms = np.array([float(batch_size**batch * rank**ranks) for batch, ranks in POWERS])
        by_part = table @ terms
        highest = by_part[by_part.sum(axis=1).argmax()]
        return {part: round(float(size)) for part, size in zip(PARTS, highest, strict=True)}


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
