"""Pydantic's types of the values of axes, as YAML and JSON files have them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.axes import (
    BATCH_SIZE,
    DROPOUT,
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    GRAD_CHECKPOINT,
    LORA_KEYS,
    MAX_SEQ_LENGTH,
    MOST_ACCUMULATED,
    MOST_COUNT,
    MOST_TOKENS,
    NUM_LAYERS,
    OPTIMIZER,
    RANK,
    Axis,
)
from pytest_yourai.core.config import ALL_LAYERS, FineTuneType, Optimizer, canonical_keys


def _count(least: int, most: int) -> Any:
    return Annotated[int, pydantic.Field(strict=True, ge=least, le=most)]


def _word(words: type[enum.StrEnum]) -> Any:
    return Annotated[words, pydantic.Field(strict=False)]


def _layers(value: Any) -> Any:
    return ALL_LAYERS if value == "all" else value


def _no_zero(value: int) -> int:
    if value == 0:
        raise ValueError("it must be at least 1, or all for all layers")
    return value


def _keys(value: Any) -> str:
    """The canonical text of a named set, or of a list of modules."""
    if isinstance(value, str):
        return canonical_keys(value.split(","))
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return canonical_keys(value)
    raise ValueError("it must be qkvo, qv, all, or a list of modules")


def model_of(name: str, base: type[pydantic.BaseModel], fields: Mapping[str, Any]) -> Any:
    """A pydantic model with `fields`, each a type and a default, that are only known in tables."""
    create: Any = pydantic.create_model
    return create(name, __base__=base, **fields)


AXIS_TYPES: Mapping[Axis, Any] = {
    BATCH_SIZE: _count(1, MOST_COUNT),
    RANK: _count(1, MOST_COUNT),
    NUM_LAYERS: Annotated[
        int,
        pydantic.Field(strict=True, ge=ALL_LAYERS, le=MOST_COUNT),
        pydantic.BeforeValidator(_layers),
        pydantic.AfterValidator(_no_zero),
    ],
    MAX_SEQ_LENGTH: _count(2, MOST_TOKENS),
    GRAD_CHECKPOINT: Annotated[bool, pydantic.Field(strict=True)],
    FINE_TUNE_TYPE: _word(FineTuneType),
    OPTIMIZER: _word(Optimizer),
    LORA_KEYS: Annotated[str, pydantic.BeforeValidator(_keys)],
    DROPOUT: Annotated[float, pydantic.Field(strict=True, ge=0, lt=1, allow_inf_nan=False)],
    GRAD_ACCUMULATION_STEPS: _count(1, MOST_ACCUMULATED),
}
"""The type of one value of each axis."""
