"""The benchmark results JSON: which models run here, and what is best for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.core.units import BYTES_PER_GB, parameters, scaled
from pytest_yourai.store.profile import configuration, created_at

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ModelResult:
    """One model: the check of its safe configuration, and its sweep's optimum and profile.

    `name` is that of its items, `preset` the one that the user gave it. `weights` says of what kind
    they were, None where the model was not looked at; `data` is as in a profile.
    """

    name: str
    preset: str
    model_name: str
    parameters: float | None
    memory_limit_bytes: int | None
    weights: str | None
    check: TrialResult | None
    optimum: TrialResult | None
    profile: dict[str, Any] | None
    data: dict[str, Any] | None = None
    is_soaked_out: bool = False
    """Whether no configuration of its sweep survived a soak."""

    @property
    def success(self) -> bool:
        """Whether it was seen to fit, in its safe or in any other configuration."""
        passed = self.check is not None and self.check.success and not self.is_soaked_out
        return passed or self.optimum is not None

    @property
    def error(self) -> str | None:
        """Why it was not seen to fit, in words."""
        if self.success:
            return None
        if self.is_soaked_out:
            return "no configuration survived its soak"
        if self.check is not None:
            return f"{self.check.outcome}: {self.check.error}"
        return "no configuration was measured to its end"


def recommended(models: Iterable[ModelResult]) -> ModelResult | None:
    """The largest that fits."""
    fitting = [model for model in models if model.success]
    return max(fitting, key=lambda model: model.parameters or 0, default=None)


def build_benchmark_results(
    models: Sequence[ModelResult],
    *,
    complete: bool,
    memory_limit_bytes: int | None,
    environment: dict[str, Any] | None,
) -> dict[str, Any]:
    """The document as it is written; of `models`, smallest first."""
    best = recommended(models)
    return {
        "schema_version": SCHEMA_VERSION,
        "created_at": created_at(),
        "complete": complete,
        "max_memory_gb": _gigabytes(memory_limit_bytes),
        "recommended": best and best.preset,
        "results": [_row(model) for model in models],
        "environment": environment,
    }


def _row(model: ModelResult) -> dict[str, Any]:
    measured = model.optimum or model.check
    outcome = model.check.outcome if model.check else None
    return {
        "preset": model.preset,
        "model_name": model.model_name,
        "params": parameters(model.parameters),
        "weights": model.weights,
        "success": model.success,
        "outcome": outcome and outcome.value,
        "error": model.error,
        "warnings": list(model.check.warnings) if model.check else [],
        "memory_limit_gb": _gigabytes(model.memory_limit_bytes),
        "peak_memory_gb": measured and _gigabytes(measured.peak_memory_bytes),
        "minimum_memory_gb": measured and _gigabytes(measured.minimum_memory_bytes),
        "predicted_minimum_memory_gb": measured
        and _gigabytes(measured.predicted_minimum_memory_bytes),
        "step_time_s": measured and measured.step_time_s,
        "tokens_per_second": measured and measured.tokens_per_second,
        "safe_config": model.check and configuration(model.check.config),
        "data": model.data,
        "optimal_config": model.profile,
    }


def _gigabytes(count_bytes: int | None) -> float | None:
    return scaled(count_bytes, BYTES_PER_GB)


_MB_PER_GB = 1e3

_MS_PER_S = 1e3


class Entry(pydantic.BaseModel):
    """One of the results of a benchmark; memory in GB (1e9 bytes)."""

    preset: str
    model_name: str
    success: bool
    optimal_config: dict[str, Any] | None
    safe_config: dict[str, Any] | None
    peak_memory_gb: float | None
    minimum_memory_gb: float | None
    memory_limit_gb: float | None
    step_time_s: float | None
    tokens_per_second: float | None = None
    predicted_minimum_memory_gb: float | None = None
    outcome: Outcome | None = None
    error: str | None = None

    def checked(self, shared: Mapping[str, Any]) -> dict[str, Any] | None:
        """A profile of its safe configuration, None without one; `shared` is the document."""
        if self.safe_config is None or self.outcome is None:
            return None
        row = {
            **self.safe_config,
            "outcome": self.outcome.value,
            "success": self.success,
            "error": self.error and self.error.removeprefix(f"{self.outcome}: "),
            "peak_memory_mb": self.peak_memory_gb and self.peak_memory_gb * _MB_PER_GB,
            "minimum_memory_mb": self.minimum_memory_gb and self.minimum_memory_gb * _MB_PER_GB,
            "step_time_ms": self.step_time_s and self.step_time_s * _MS_PER_S,
            "tokens_per_second": self.tokens_per_second,
            "predicted_minimum_memory_bytes": self.predicted_minimum_memory_gb
            and self.predicted_minimum_memory_gb * 1e9,
        }
        optimum = self.safe_config if self.success else dict.fromkeys(self.safe_config)
        return {
            "model": id_name(self.preset),
            "memory_limit_gb": self.memory_limit_gb,
            "created_at": shared.get("created_at"),
            "complete": shared.get("complete"),
            "environment": shared.get("environment"),
            **{f"optimal_{key}": value for key, value in optimum.items()},
            "all_results": [row],
        }


def read_entries(document: Mapping[str, Any], name: str) -> list[Entry]:
    """All models of benchmark results in the file `name`; RecordingError where they are none."""
    try:
        return pydantic.TypeAdapter(list[Entry]).validate_python(document["results"])
    except pydantic.ValidationError as problem:
        where = ".".join(map(str, ("results", *problem.errors()[0]["loc"])))
        raise RecordingError(
            f"{name}: {where}: it is missing or mistaken: name the results of yourai benchmark"
        ) from None


def entry_profiles(document: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """The profile of each model: of its sweep, else of its safe configuration."""
    for entry in read_entries(document, name):
        found = entry.optimal_config or entry.checked(document)
        if found is not None:
            yield found
