"""The benchmark results JSON: the models that run on a machine, and the best of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.core.units import GB, parameters, scaled
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.profile import created_at
from pytest_yourai.store.schema import first_problem

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ModelResult:
    """One model: the check of its safe configuration, and the optimum and profile of its sweep.

    `name` is that of its items, `preset` the user's. `weights` is their kind, such as
    `synthetic 4-bit`, None if the model was never inspected; `data` is as in a profile.
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
    """True if no configuration of its sweep survived a soak."""

    @property
    def success(self) -> bool:
        """True if a configuration, the safe one or another, was measured to fit."""
        passed = self.check is not None and self.check.success and not self.is_soaked_out
        return passed or self.optimum is not None

    @property
    def error(self) -> str | None:
        """Why no configuration is known to fit, in words; None if one is."""
        if self.success:
            return None
        if self.is_soaked_out:
            return "no configuration survived its soak"
        if self.check is not None:
            return f"{self.check.outcome}: {self.check.error}"
        return "no configuration was measured to its end"


def recommended(models: Iterable[ModelResult]) -> ModelResult | None:
    """The largest model that fits, None if none does."""
    fitting = [model for model in models if model.success]
    return max(fitting, key=lambda model: model.parameters or 0, default=None)


def build_benchmark_results(
    models: Sequence[ModelResult],
    *,
    complete: bool,
    memory_limit_bytes: int | None,
    environment: Environment | None,
    identity: str | None = None,
) -> dict[str, Any]:
    """The JSON document; `models` come smallest first."""
    best = recommended(models)
    return {
        "schema_version": SCHEMA_VERSION,
        "created_at": created_at(),
        "complete": complete,
        "max_memory_gb": scaled(memory_limit_bytes, GB),
        "recommended": best and best.preset,
        "results": [_row(model) for model in models],
        "environment": environment and environment.as_json(),
        "identity": identity,
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
        "memory_limit_gb": scaled(model.memory_limit_bytes, GB),
        "peak_memory_gb": measured and scaled(measured.peak_memory_bytes, GB),
        "minimum_memory_gb": measured and scaled(measured.minimum_memory_bytes, GB),
        "predicted_minimum_memory_gb": measured
        and scaled(measured.predicted_minimum_memory_bytes, GB),
        "step_time_s": measured and measured.step_time_s,
        "tokens_per_second": measured and measured.tokens_per_second,
        "safe_config": model.check and configuration(model.check.config),
        "data": model.data,
        "optimal_config": model.profile,
    }


class BenchmarkEntry(pydantic.BaseModel):
    """One of the `results` as it is read: the profile of a sweep, and a check of one configuration.

    Memory in GB (1e9 bytes).
    """

    preset: str
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

    @property
    def has_optimum(self) -> bool:
        """True if the sweep found a configuration that fits."""
        return bool(self.optimal_config and self.optimal_config.get("optimal_batch_size"))

    def check_profile(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """The check as a profile of its own, None without one; `document` has the entry."""
        if self.safe_config is None or self.outcome is None:
            return None
        row = {
            **self.safe_config,
            "outcome": self.outcome.value,
            "success": self.success,
            "error": self.error and self.error.removeprefix(f"{self.outcome}: "),
            "peak_memory_mb": self.peak_memory_gb and self.peak_memory_gb * 1e3,
            "minimum_memory_mb": self.minimum_memory_gb and self.minimum_memory_gb * 1e3,
            "step_time_ms": self.step_time_s and self.step_time_s * 1e3,
            "tokens_per_second": self.tokens_per_second,
            "predicted_minimum_memory_bytes": self.predicted_minimum_memory_gb
            and self.predicted_minimum_memory_gb * GB,
        }
        return {
            "model": id_name(self.preset),
            "memory_limit_gb": self.memory_limit_gb,
            **{key: document.get(key) for key in ("created_at", "complete", "environment")},
            "all_results": [row],
        }


def read_entries(document: Mapping[str, Any], name: str) -> list[BenchmarkEntry]:
    """All models of benchmark results in the file `name`; RecordingError if they are mistaken."""
    try:
        return type_adapter(list[BenchmarkEntry]).validate_python(document["results"])
    except pydantic.ValidationError as problem:
        where = first_problem(problem)
        raise RecordingError(
            f"{name}: results.{where}; name the results of yourai models"
        ) from None
