"""Types of numbers as they can be measured; a message or a file with another is refused."""

from __future__ import annotations

import math
from typing import Annotated

import pydantic

_PETABYTE = 1 << 50

_MOST = 10**12

_LARGEST_FLOAT32 = 3.5e38
"""Of losses and rates."""

Bytes = Annotated[int, pydantic.Field(ge=0, lt=_PETABYTE)]

HeldBytes = Annotated[int, pydantic.Field(gt=0, lt=_PETABYTE)]
"""Of what cannot be empty: a model, a step of training."""

Count = Annotated[int, pydantic.Field(ge=0, le=_MOST)]

Layers = Annotated[int, pydantic.Field(ge=1, le=1_000_000)]

Parameters = Annotated[int, pydantic.Field(ge=0, lt=1 << 60)]

StepNumber = Annotated[int, pydantic.Field(ge=1, le=1 << 53)]

StepTime = Annotated[float, pydantic.Field(ge=1e-9, le=1e9, allow_inf_nan=False)]
"""Seconds; no float holds the ratios of shorter or longer ones."""

Duration = Annotated[float, pydantic.Field(ge=0, le=1e9, allow_inf_nan=False)]
"""Seconds."""


def _is_one(loss: float) -> float:
    if math.isfinite(loss) and abs(loss) > _LARGEST_FLOAT32:
        raise ValueError(f"a loss is at most {_LARGEST_FLOAT32:g}")
    return loss


Loss = Annotated[float, pydantic.AfterValidator(_is_one)]
"""Training may bring forth one that is not finite, which has an outcome of its own."""

FiniteLoss = Annotated[Loss, pydantic.Field(allow_inf_nan=False)]

Rate = Annotated[float, pydantic.Field(ge=0, le=_LARGEST_FLOAT32, allow_inf_nan=False)]
"""A learning rate, as the user asked for it."""
