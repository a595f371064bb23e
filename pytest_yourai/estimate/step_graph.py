"""The computation graph of a training step as MLX traces it: operations, and the arrays they make.

A graph is traced with two prime numbers, as batch size and as rank, that divide no other size of
the model. So each size tells how it grows with both, and one trace serves every batch size and
rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_yourai.models.step_profile import Holding


@dataclass(eq=False, slots=True)
class Array:
    """An array of the graph. `item_bytes` is of one element; `maker` is None for inputs.

    `value` is that of a scalar constant of the program.
    """

    shape: tuple[int, ...]
    item_bytes: int
    maker: Operation | None = None
    value: float | None = None
    holding: Holding = Holding.ACTIVATIONS

    @property
    def elements(self) -> int:
        """How many it has."""
        return math.prod(self.shape)

    @property
    def held_bytes(self) -> int:
        """Bytes of its elements."""
        return self.elements * self.item_bytes


@dataclass(eq=False, slots=True)
class Operation:
    """A primitive of MLX, by its name and arguments there."""

    name: str
    inputs: list[Array]
    outputs: list[Array] = field(default_factory=list)
    arguments: Sequence[Any] = ()


@dataclass(slots=True)
class StepGraph:
    """The operations of a step, each after those that it needs; a step's state is in both ends."""

    inputs: list[Array]
    outputs: list[Array]
    operations: list[Operation]
