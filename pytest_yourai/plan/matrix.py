"""A YAML matrix: which configurations a sweep runs.

batch_size: [1, 2, 4]
lora_rank: [64, 128]
lora_layers: [16, 32]
# optional; a flag on the command line wins
max_seq_length: [512, 1024]     # or one number
grad_checkpoint: [false, true]  # or one of them
lora_keys: [self_attn.q_proj]   # the same for all, as is
quantize: 4                     # or none
exclude:
  - {batch_size: 4, lora_rank: 128}
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.config import LoraConfig, QuantizeChoice, RowShape, quantize_choice
from pytest_yourai.core.errors import MatrixError
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.core.yaml_file import read_yaml, validate

_Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=1_000_000)]

_Axis = Annotated[tuple[_Count, ...], pydantic.Field(min_length=1)]

_Tokens = Annotated[int, pydantic.Field(strict=True, ge=2, le=10_000_000)]

_Switch = Annotated[bool, pydantic.Field(strict=True)]

_Keys = Annotated[
    tuple[Annotated[str, pydantic.Field(min_length=1)], ...], pydantic.Field(min_length=1)
]

_MOST_COMBINATIONS = 10_000


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


_OneOrMore = (pydantic.Field(min_length=1), pydantic.BeforeValidator(_listed))


class _Exclusion(pydantic.BaseModel):
    """The axes of a LoraConfig, in its order; None for any value."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    batch_size: _Count | None = None
    lora_rank: _Count | None = None
    lora_layers: _Count | None = None
    max_seq_length: _Tokens | None = None
    grad_checkpoint: _Switch | None = None

    @pydantic.model_validator(mode="after")
    def _names_something(self) -> _Exclusion:
        if not self.model_fields_set:
            raise ValueError("an exclusion must name at least one axis")
        return self

    def matches(self, config: LoraConfig) -> bool:
        axes = zip(dict(self).values(), dataclasses.astuple(config), strict=True)
        return all(asked in (None, own) for asked, own in axes)


class _MatrixSchema(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    batch_size: _Axis
    lora_rank: _Axis
    lora_layers: _Axis
    max_seq_length: Annotated[tuple[_Tokens, ...] | None, *_OneOrMore] = None
    grad_checkpoint: Annotated[tuple[_Switch, ...] | None, *_OneOrMore] = None
    lora_keys: _Keys | None = None
    quantize: Annotated[QuantizeChoice, pydantic.PlainValidator(quantize_choice)] = None
    exclude: tuple[_Exclusion, ...] = ()


class Matrix(_MatrixSchema):
    """Axes, values fixed for all configurations, and exclusions, as read from the file `source`.

    None where the file leaves the value to flags and defaults.
    """

    source: Path

    def configs(self, shapes: Collection[RowShape], depth: int | None) -> list[LoraConfig]:
        """The combinations, lightest first; layers over `depth` become `depth`, without duplicates.

        `shapes` is an argument, since flags override the file. `exclude` applies to the layers
        after that. MatrixError if it leaves nothing, or if there are too many combinations.
        """
        axes = (self.batch_size, self.lora_rank, self.lora_layers, shapes)
        count = math.prod(map(len, axes))
        if count > _MOST_COMBINATIONS:
            raise MatrixError(
                f"{self.source}: {count:,} combinations are more than {_MOST_COMBINATIONS:,}: "
                "shorten its lists"
            )
        every = {
            LoraConfig(batch, rank, min(layers, depth or layers), *dataclasses.astuple(shape))
            for batch, rank, layers, shape in itertools.product(*axes)
        }
        combinations = [config for config in every if not self._excludes(config)]
        if not combinations:
            raise MatrixError(f"{self.source}: exclude: it leaves no configuration, remove a rule")
        return lightest_first(combinations)

    def _excludes(self, config: LoraConfig) -> bool:
        return any(rule.matches(config) for rule in self.exclude)

    def layers_over(self, depth: int | None) -> list[int]:
        """The numbers of layers in the matrix that a model of `depth` layers does not have."""
        return sorted({layers for layers in self.lora_layers if depth and layers > depth})


def read_matrix(path: Path) -> Matrix:
    """The matrix in `path`; MatrixError, naming file, line and key, if it is not valid."""
    file = read_yaml(path, MatrixError, "a matrix")
    if not isinstance(file.value, dict):
        raise MatrixError(
            f"{path}:1: this is not a matrix: it must map batch_size, lora_rank and lora_layers "
            "to lists of whole numbers"
        )
    raw = validate(file, _MatrixSchema, file.value, MatrixError)
    return Matrix.model_construct(source=path, **dict(raw))
