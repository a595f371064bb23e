"""Schema of a configuration in the rows of a profile and of a journal."""

from __future__ import annotations

from typing import Any, Self

import pydantic

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.axis_types import AXIS_TYPES, model_of
from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.store.schema import AxisValue, Count, Length, Row

_BEFORE_IT_WAS_AN_AXIS = {
    "fine_tune_type": FineTuneType.LORA,
    "optimizer": Optimizer.ADAM,
    "lora_keys": "qkvo",
    "dropout": 0.0,
    "grad_accumulation_steps": 1,
}
"""Values of the rows of profiles and journals from before they named them."""

_STORED_TYPES = {
    "batch_size": AxisValue,
    "lora_rank": Count,  # 0 for full fine-tuning
    "lora_layers": AxisValue,
    "max_seq_length": Length,
}

_AxesRow: Any = model_of(
    "_AxesRow",
    Row,
    {
        axis.key: (
            _STORED_TYPES.get(axis.key, AXIS_TYPES[axis]),
            _BEFORE_IT_WAS_AN_AXIS.get(axis.key, ...),
        )
        for axis in AXES
    },
)


class ConfigRow(_AxesRow):  # type: ignore[misc]  # made from the table of axes
    """A configuration."""

    @pydantic.model_validator(mode="after")
    def _has_a_rank(self) -> Self:
        if self.lora_rank < 1 and self.fine_tune_type is not FineTuneType.FULL:
            raise pydantic.ValidationError.from_exception_data(
                type(self).__name__,
                [
                    {
                        "type": "greater_than_equal",
                        "loc": ("lora_rank",),
                        "input": self.lora_rank,
                        "ctx": {"ge": 1},
                    }
                ],
            )
        return self

    @property
    def config(self) -> LoraConfig:
        return LoraConfig(**{axis.name: getattr(self, axis.key) for axis in AXES})


def configuration(config: LoraConfig) -> dict[str, Any]:
    """The keys and values by which files name a configuration."""
    return {axis.key: axis.of(config) for axis in AXES}
