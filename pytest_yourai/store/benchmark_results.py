"""The benchmark results JSON: which models run here, and what is best for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.results import TrialResult
from pytest_yourai.store.profile import BYTES_PER_GB, configuration, created_at, scaled
from pytest_yourai.units import parameters

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
            return f"{self.check.outcome}: {self.check.reason}"
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
