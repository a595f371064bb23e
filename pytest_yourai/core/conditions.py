"""Conditions that a sweep was measured under: its settings, and the machine it ran on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic
from pydantic.json_schema import SkipJsonSchema

from pytest_yourai.core.config import Quantization, QuantizeChoice

_Count = Annotated[int, pydantic.Field(ge=0, le=10**18)]

_Amount = Annotated[float, pydantic.Field(ge=0, le=1e18, allow_inf_nan=False)]

_Quantization = Annotated[
    QuantizeChoice, pydantic.BeforeValidator(lambda value: "none" if value is None else value)
]


_LEFT_OUT = ("adapted_modules", "world_size", "distributed_backend")
"""Settings that have no key where there is nothing to say, as in profiles from before them."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """The settings of a sweep, as its profile keeps them; None where a profile has none.

    `lora_keys` are paths within a layer, of all choices that were swept.
    """

    weights: str | None = None
    quantization: _Quantization = None
    """Quantization of the base model; "none", null in the file, for weights without any."""
    lora_keys: tuple[str, ...] | None = None
    adapted_modules: Mapping[str, Mapping[str, str]] | None = None
    """The layers that each of these modules adapts, by the choice of keys: `all`, or `0, 2-4`."""
    model: str | None = None
    """Folder or repository of a model that is no packaged preset; a folder as `recipe_file`."""
    presets_file: str | None = None
    """The user's list of presets that names the model; a path as `recipe_file`."""
    matrix: str | None = None
    recipe_file: str | None = None
    """Path of the recipe, relative to where the sweep ran; absolute where it lies elsewhere."""
    search: str | None = None
    replay: str | None = None
    """Name of the recording that was measured before."""
    peaks_stand_in_for_minima: bool | None = None
    data: str | None = None
    bad_rows: str | None = None
    """"skip" where rows that cannot be trained on are left out."""
    measured_steps: _Count | None = None
    warmup_steps: _Count | None = None
    safety_margin: _Amount | None = None
    isolation: str | None = None
    timeout_s: _Amount | None = None
    world_size: _Count | None = None
    """The number of ranks that trained each configuration together; None where one did alone."""
    distributed_backend: str | None = None
    """What the ranks talked through, by the names of `mlx.launch --backend`."""
    recipe: Annotated[Mapping[str, Any], SkipJsonSchema()] = field(default_factory=dict)
    """The recipe, flat in the file: axes, with lists where they vary, and what all trials share.

    Also keys of the file that this version does not know.
    """

    @property
    def ranks(self) -> int:
        """The number of processes that trained each configuration together."""
        return self.world_size or 1

    @property
    def ranks_text(self) -> str:
        """`one process`, or `2 ranks by ring`."""
        if self.ranks == 1:
            return "one process"
        by = f" by {self.distributed_backend}" if self.distributed_backend else ""
        return f"{self.ranks} ranks{by}"

    def as_json(self) -> dict[str, Any]:
        """The keys and values of the file."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values |= values.pop("recipe")
        if self.lora_keys is not None:
            values["lora_keys"] = list(self.lora_keys)
        for name in _LEFT_OUT:
            if values[name] is None:
                del values[name]
        how = self.quantization
        values["quantization"] = dataclasses.asdict(how) if isinstance(how, Quantization) else None
        return values


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine that a sweep ran on, its power supply and versions; None where not known."""

    chip: str | None = None
    backend: str | None = None
    device: str | None = None
    gpu_cores: _Count | None = None
    """Of Apple's chips, of which each name has several sizes."""
    device_memory_bytes: _Count | None = None
    system_memory_bytes: _Count | None = None
    system: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of MLX, mlx-lm, Python and this plugin."""
    power_source: str | None = None
    low_power_mode: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of the environment that MLX and the libraries below it obey, such as OMP_*."""

    @property
    def is_known(self) -> bool:
        """True if any value is known."""
        return self != Environment()

    def as_json(self) -> dict[str, Any]:
        """The keys and values of the file."""
        return dataclasses.asdict(self)
