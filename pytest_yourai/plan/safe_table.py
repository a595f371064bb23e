"""The configuration to try a model in first: small enough to be safe, and still useful."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import MatrixError
from pytest_yourai.core.paths import matrices_folder
from pytest_yourai.core.units import GB, parameter_count
from pytest_yourai.core.yaml_file import read_yaml, validate
from pytest_yourai.models.presets import Params

_Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=1_000_000)]

_Gigabytes = Annotated[float, pydantic.Field(gt=0)]


class _Row(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    from_params: Params | None = None
    over_params: Params | None = None
    under_gb: _Gigabytes | None = None
    up_to_gb: _Gigabytes | None = None
    batch_size: _Count
    lora_rank: _Count
    lora_layers: _Count

    def matches(self, parameters: float, available_gb: float) -> bool:
        return (
            (self.from_params is None or parameters >= parameter_count(self.from_params))
            and (self.over_params is None or parameters > parameter_count(self.over_params))
            and (self.under_gb is None or available_gb < self.under_gb)
            and (self.up_to_gb is None or available_gb <= self.up_to_gb)
        )


SAFE_KEYS = "qkvo"
"""The modules that the table was made for."""


def safe_config(
    parameters: float,
    available_bytes: float,
    *,
    depth: int | None,
    like: LoraConfig,
    fixed: Collection[str] = (),
    ranks: int = 1,
) -> LoraConfig:
    """The safe configuration for a model of so many parameters, within `available_bytes`.

    The number of layers is cut to the model's `depth`, if that is known; rows, recipe and the
    `fixed` ones of batch size, rank and layers are those of `like`. Each of `ranks` that train
    together has the safe batch, unless that is fixed.
    """
    available_gb = available_bytes / GB
    row = next(row for row in read_safe_table() if row.matches(parameters, available_gb))
    sizes: dict[str, Any] = {
        "batch_size": row.batch_size * ranks,
        "rank": row.lora_rank,
        "num_layers": min(row.lora_layers, depth or row.lora_layers),
    }
    chosen = {name: size for name, size in sizes.items() if name not in fixed}
    return dataclasses.replace(like, **chosen).canonical()


@functools.cache
def read_safe_table(path: Path | None = None) -> tuple[_Row, ...]:
    """The packaged table, or the one in `path`; MatrixError if it is not valid.

    The first row that matches a model counts.
    """
    path = path or matrices_folder() / "safe.yaml"
    file = read_yaml(path, MatrixError, "a table of safe configurations")
    if not isinstance(file.value, list) or not file.value:
        raise MatrixError(f"{path}:1: this is not a list of safe configurations: write one")
    rows = tuple(
        validate(file, _Row, row, MatrixError, at=(index,)) for index, row in enumerate(file.value)
    )
    if rows[-1].model_fields_set & {"from_params", "over_params", "under_gb", "up_to_gb"}:
        raise MatrixError(
            f"{file.where((len(rows) - 1,))}: the last row must match every model: remove its "
            "conditions"
        )
    return rows
