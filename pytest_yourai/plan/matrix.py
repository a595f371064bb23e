"""A YAML matrix: which configurations a sweep runs.

batch_size: [1, 2, 4]
lora_rank: [64, 128]
lora_layers: [16, all]
# optional, a value or a list of values; a flag on the command line wins
max_seq_length: [512, 1024]
grad_checkpoint: [false, true]
fine_tune_type: [lora, dora]    # or full
optimizer: adamw
lora_keys: qkvo                 # or qv, all, a list of modules, or a list of such choices
dropout: 0.05
grad_accumulation_steps: 4      # or effective_batch_size: 16
quantize: 4                     # or none
exclude:
  - {batch_size: 4, lora_rank: 128}
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.axes import AXES, LORA_KEYS, NUM_LAYERS, SIZES, Axis
from pytest_yourai.core.axis_types import AXIS_TYPES, model_of
from pytest_yourai.core.config import (
    ALL_KEYS,
    ALL_LAYERS,
    KEY_SETS,
    LoraConfig,
    QuantizeChoice,
    quantize_choice,
)
from pytest_yourai.core.errors import MatrixError, OptionError
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.core.yaml_file import YamlFile, read_yaml, validate

_MOST_COMBINATIONS = 10_000

AxisValues = Mapping[str, tuple[Any, ...]]
"""Values of axes, by the names of a LoraConfig's fields."""


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


def _listed_keys(value: Any) -> Any:
    """A list of modules is one choice; one of named sets or of lists has several."""
    if not isinstance(value, list):
        return _listed(value)
    is_several = any(isinstance(each, list) or each in (ALL_KEYS, *KEY_SETS) for each in value)
    return value if is_several else [value]


def _values(axis: Axis) -> Any:
    """Pydantic's type of the values of an axis."""
    value: Any = AXIS_TYPES[axis]
    listed = _listed_keys if axis is LORA_KEYS else _listed
    length = pydantic.Field(min_length=1)
    return Annotated[tuple[value, ...], length, pydantic.BeforeValidator(listed)]


class _MatrixModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    effective_batch_size: Annotated[int | None, pydantic.Field(strict=True, ge=1)] = None
    quantize: Annotated[QuantizeChoice, pydantic.PlainValidator(quantize_choice)] = None


class _ExclusionModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.model_validator(mode="after")
    def _names_something(self) -> _ExclusionModel:
        if not self.model_fields_set:
            raise ValueError("an exclusion must name at least one axis")
        return self


_ExclusionSchema: Any = model_of(
    "_ExclusionSchema",
    _ExclusionModel,
    {axis.key: (AXIS_TYPES[axis] | None, None) for axis in AXES},
)

_MatrixSchema: Any = model_of(
    "_MatrixSchema",
    _MatrixModel,
    {
        **{axis.key: (_values(axis), ...) for axis in SIZES},
        **{axis.key: (_values(axis) | None, None) for axis in AXES if axis not in SIZES},
        "exclude": (tuple[_ExclusionSchema, ...], ()),
    },
)


@dataclass(frozen=True)
class Exclusion:
    """Values of axes, by their names: a configuration with all of them is left out."""

    values: Mapping[str, Any]

    def matches(self, config: LoraConfig, depth: int | None) -> bool:
        """True if it names `config`, whose model has `depth` layers."""
        return all(
            (depth if value == ALL_LAYERS else value) == getattr(config, name)
            for name, value in self.values.items()
        )


@dataclass(frozen=True)
class Matrix:
    """Axes, values fixed for all configurations, and exclusions, as read from the file `source`.

    `axes` lacks those that the file leaves to others; `quantize` is None there.
    """

    source: Path
    axes: AxisValues
    effective_batch_size: int | None = None
    quantize: QuantizeChoice = None
    exclude: tuple[Exclusion, ...] = ()


def combinations(
    axes: AxisValues, depth: int | None, matrix: Matrix | None, effective_batch_size: int | None
) -> list[LoraConfig]:
    """The configurations with values of `axes`, all of them, lightest first, without duplicates.

    Layers over `depth`, and ALL_LAYERS, become `depth`; `matrix` excludes some after that. Where
    there is an `effective_batch_size`, each batch size gets the accumulation that comes nearest to
    it. MatrixError if nothing is left, or if there are too many.
    """
    named = matrix.source if matrix else "the command line"
    count = math.prod(map(len, axes.values()))
    if count > _MOST_COMBINATIONS:
        raise MatrixError(
            f"{named}: {count:,} combinations are more than {_MOST_COMBINATIONS:,}: "
            "shorten its lists"
        )
    found = set()
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        chosen[NUM_LAYERS.name] = layers_of(chosen[NUM_LAYERS.name], depth, str(named))
        found.add(accumulated(LoraConfig(**chosen), effective_batch_size).canonical())
    exclude = matrix.exclude if matrix else ()
    kept = [each for each in found if not any(rule.matches(each, depth) for rule in exclude)]
    if not kept:
        raise MatrixError(f"{named}: exclude: it leaves no configuration, remove a rule")
    return lightest_first(kept)


def accumulated(config: LoraConfig, effective_batch_size: int | None) -> LoraConfig:
    """`config` with the accumulation that comes nearest to, and not over, `effective_batch_size`.

    The same one where that is None.
    """
    if effective_batch_size is None:
        return config
    steps = max(1, effective_batch_size // config.batch_size)
    return dataclasses.replace(config, grad_accumulation_steps=steps)


def evenly_accumulated(
    config: LoraConfig, effective_batch_size: int | None, ranks: int = 1
) -> LoraConfig:
    """As `accumulated`, with the next smaller batch that divides `effective_batch_size`.

    Where there is one, it is one that `ranks` divide.
    """
    if effective_batch_size is not None:
        most = min(config.batch_size, effective_batch_size)
        even = [each for each in range(most, 0, -1) if effective_batch_size % each == 0]
        batch = next((each for each in even if each % ranks == 0), even[0])
        config = dataclasses.replace(config, batch_size=batch)
    return accumulated(config, effective_batch_size)


def dividing(batch_sizes: Iterable[int], effective_batch_size: int) -> tuple[int, ...]:
    """Those of the batch sizes of flags that divide `effective_batch_size`; OptionError if none."""
    sizes = sorted(set(batch_sizes))
    if even := tuple(each for each in sizes if effective_batch_size % each == 0):
        return even
    raise OptionError(
        f"--yourai-effective-batch-size: {effective_batch_size} is not a multiple of "
        f"--yourai-batch-size {', '.join(map(str, sizes))}: choose a batch size that divides "
        f"{effective_batch_size}"
    )


def divided_by(batch_sizes: Iterable[int], ranks: int) -> tuple[int, ...]:
    """Those of the batch sizes that `ranks` divide; OptionError if none."""
    sizes = sorted(set(batch_sizes))
    if even := tuple(each for each in sizes if each % ranks == 0):
        return even
    raise OptionError(
        f"--yourai-batch-size: {ranks} ranks do not divide {', '.join(map(str, sizes))}: choose a "
        f"multiple of {ranks}"
    )


def layers_of(asked: int, depth: int | None, named: str) -> int:
    """The number of layers that `asked` means; MatrixError, beginning with `named`, if unknown."""
    if asked == ALL_LAYERS and depth is None:
        raise MatrixError(
            f"{named}: lora_layers: config.json does not tell how many layers the model has: "
            "write their number instead of all"
        )
    return depth if asked == ALL_LAYERS and depth else min(asked, depth or asked)


def layers_over(axes: AxisValues, depth: int | None) -> list[int]:
    """The numbers of layers in `axes` that a model of `depth` layers does not have."""
    asked = axes.get(NUM_LAYERS.name, ())
    return sorted({layers for layers in asked if depth and layers > depth})


def read_matrix(path: Path) -> Matrix:
    """The matrix in `path`; MatrixError, naming file, line and key, if it is not valid."""
    file = read_yaml(path, MatrixError, "a matrix")
    if not isinstance(file.value, dict):
        raise MatrixError(
            f"{path}:1: this is not a matrix: it must map batch_size, lora_rank and lora_layers "
            "to lists of whole numbers"
        )
    raw = validate(file, _MatrixSchema, _with_keys(file, file.value), MatrixError)
    if raw.effective_batch_size is not None and raw.grad_accumulation_steps is not None:
        raise MatrixError(
            f"{file.where(('effective_batch_size',))}: grad_accumulation_steps follow from it: "
            "leave one of the two out"
        )
    return Matrix(
        source=path,
        axes={axis.name: values for axis in AXES if (values := getattr(raw, axis.key))},
        effective_batch_size=raw.effective_batch_size,
        quantize=raw.quantize,
        exclude=tuple(Exclusion(_named_values(rule)) for rule in raw.exclude),
    )


def _named_values(rule: Any) -> dict[str, Any]:
    return {axis.name: value for axis in AXES if (value := getattr(rule, axis.key)) is not None}


def _with_keys(
    file: YamlFile, mapping: Mapping[str, Any], at: tuple[str | int, ...] = ()
) -> dict[str, Any]:
    """A mapping of the file, found under `at`, with mlx-lm's names of axes replaced by ours."""
    names = {alias: axis.key for axis in AXES for alias in axis.aliases}
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        if (key := names.get(name, name)) in found:
            raise MatrixError(f"{file.where((*at, name))}: {key} is the same axis: leave one out")
        found[key] = value
    if not at and isinstance(rules := found.get("exclude"), list):
        found["exclude"] = [
            _with_keys(file, rule, ("exclude", index)) if isinstance(rule, dict) else rule
            for index, rule in enumerate(rules)
        ]
    return found
