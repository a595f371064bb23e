"""The schema of a shared file: a profile with numbers and known words alone.

No text in it is free, so that it has no paths, hosts or names of people, and a check can tell.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.config import Objective, Optimizer
from pytest_yourai.core.device import Backend
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.core.power import PowerSource
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.schema import Amount, Count, Row

SHARED_VERSION = 1


def _text(pattern: str, longest: int = 100) -> Any:
    return pydantic.Field(pattern=f"^(?:{pattern})$", max_length=longest)


_Model = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9_.-]*")]

Repository = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*", 200)]

Hardware = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9_ .,()@+-]*")]
"""The name of a chip or a GPU, as its maker gives it: `Intel(R) Xeon(R) CPU @ 2.20GHz`."""

System = Annotated[str, _text(r"[A-Za-z]+(-[0-9]+(\.[0-9]+)*)?", 40)]

_RELEASE = r"[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.(post|dev)[0-9]+)*"

Version = Annotated[str, _text(_RELEASE + r"(\+g?[0-9a-f]{6,40}(\.d[0-9]{8})?)?\+?", 80)]
"""By PEP 440; of local parts those that name a commit. Unreleased Pythons end in a plus."""

VariableName = Annotated[str, _text(r"(BLIS|CUDA|GOMP|KMP|MKL|MLX|OMP|OPENBLAS|VECLIB)_[A-Z0-9_]+")]

VariableValue = Annotated[str, _text(r"[0-9]+|other", 12)]
"""A number; `other` for whatever else it was set to."""

Module = Annotated[str, _text(r"[A-Za-z_][A-Za-z0-9_.]*")]
"""Path of a module within a layer."""

Matrix = Literal["common.yaml", "full.yaml", "low-memory.yaml", "quick.yaml", "tiny.yaml"]
"""A packaged one: the name of another may say what it is for."""

Package = Literal["python", "pytest-yourai", "mlx", "mlx-lm"]

_Keys = Annotated[str, _text(r"[A-Za-z_][A-Za-z0-9_.,]*", 2000)]

_Layers = Annotated[str, _text(r"all|[0-9, -]+", 400)]

_Number = Annotated[float, pydantic.Field(allow_inf_nan=False)] | bool | None


class _Closed(Row):
    """An object without other keys."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True, defer_build=True, extra="forbid")


class SharedRow(TrialRow):
    """A trial, as in a profile; why it failed is its outcome, since errors may have paths."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True, defer_build=True, extra="forbid")

    error: None = None
    remedy: None = None
    warnings: Annotated[list[str], pydantic.Field(max_length=0)] = pydantic.Field(
        default_factory=list
    )
    lora_keys: _Keys


class SharedQuantization(_Closed):
    """Quantization of the base model."""

    bits: Literal[2, 3, 4, 5, 6, 8]
    group_size: Literal[16, 32, 64, 128]
    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"]


class SharedSettings(_Closed):
    """The settings that measurements depend on; null where there are none."""

    model: Repository | None = None
    """Of a model that is no packaged preset."""
    weights: Literal["synthetic", "local", "hub"] | None
    quantization: SharedQuantization | None
    lora_keys: list[Module] | None
    adapted_modules: dict[_Keys, dict[Module, _Layers]] | None = None
    matrix: Matrix | None = None
    search: Literal["fast", "exhaustive"] | None = None
    isolation: Literal["model", "trial"] | None = None
    measured_steps: Count
    warmup_steps: Count
    safety_margin: Annotated[float, pydantic.Field(ge=1, le=10)]
    lora_scale: Amount | None = None
    learning_rate: Amount | None = None
    seed: Count | None = None
    mask_prompt: bool | None = None
    clear_cache_threshold: Count | None = None
    optimizer_config: dict[Optimizer, dict[Module, _Number | list[_Number]]] | None = None
    world_size: Annotated[int, pydantic.Field(ge=1, le=10_000)] | None = None
    distributed_backend: Annotated[DistributedBackend, pydantic.Field(strict=False)] | None = None


class SharedEnvironment(_Closed):
    """The machine."""

    chip: Hardware
    backend: Backend
    device: Hardware | None
    gpu_cores: Count | None
    device_memory_bytes: Count | None
    system_memory_bytes: Count
    system: System | None
    versions: dict[Package, Version]
    power_source: PowerSource | None
    low_power_mode: bool | None
    variables: dict[VariableName, VariableValue]


class SharedProfile(_Closed):
    """A profile to share. MB means 1e6 bytes, GB 1e9."""

    schema_version: Literal[1]
    shared: Literal[1]
    """Version of what is shared of a profile."""
    model: _Model
    created_at: Annotated[str, _text(r"[0-9:T.Z+-]+", 40)]
    complete: bool
    trials_run: Count
    memory_limit_gb: Amount
    objective: Annotated[Objective, pydantic.Field(strict=False)]
    settings: SharedSettings
    environment: SharedEnvironment
    all_results: Annotated[list[SharedRow], pydantic.Field(min_length=1)]
    digest: Annotated[str, _text(r"sha256:[0-9a-f]{64}")]
    """SHA-256 of everything else, by which a changed file is noticed."""


COMPUTED = tuple(
    name
    for name in TrialRow.model_fields
    if name.endswith(("_mb", "_ms"))
    or name in ("tokens_per_second", "throughput_score", "update_time_s", "communication_share")
)
"""Keys of a row that follow from its others."""


def field_names(kind: type[pydantic.BaseModel]) -> tuple[str, ...]:
    """The keys that an object of this kind may have."""
    return tuple(kind.model_fields)


def fits(kind: Any, value: Any) -> bool:
    """True if `value` is a `kind`, one of the types above."""
    try:
        type_adapter(kind).validate_python(value, strict=True)
    except pydantic.ValidationError:
        return False
    return True
