"""The profile JSON: the answer of a sweep, and every row behind it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_yourai.config import LoraConfig, Objective
from pytest_yourai.optimum import best, pareto
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.soak_result import SoakResult, standing
from pytest_yourai.store.atomic import write_atomically
from pytest_yourai.store.clean import clean

SCHEMA_VERSION = 1

OUTPUT_FLAG = "--yourai-output"
"""What names the file."""

_BYTES_PER_MB = 1e6
BYTES_PER_GB = 1e9


def build_profile(
    *,
    model: str,
    results: Sequence[TrialResult],
    complete: bool,
    objective: Objective,
    memory_limit_bytes: int | None,
    settings: dict[str, Any],
    environment: dict[str, Any],
    data: dict[str, Any] | None = None,
    soaks: Sequence[SoakResult] = (),
) -> dict[str, Any]:
    """The profile as it is written, `optimal_*` null where nothing fits, or survives its soak."""
    remaining = standing(results, soaks)
    optimum = best(remaining, objective)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "optimal_batch_size": optimum and optimum.config.batch_size,
        "optimal_lora_rank": optimum and optimum.config.rank,
        "optimal_lora_layers": optimum and optimum.config.num_layers,
        "optimal_max_seq_length": optimum and optimum.config.max_seq_length,
        "optimal_grad_checkpoint": optimum and optimum.config.grad_checkpoint,
        "peak_memory_gb": optimum and scaled(optimum.peak_memory_bytes, BYTES_PER_GB),
        "throughput_score": optimum and optimum.config.throughput_score,
        "created_at": created_at(),
        "complete": complete,
        "trials_run": sum(result.started for result in results),
        "memory_limit_gb": scaled(memory_limit_bytes, BYTES_PER_GB),
        "objective": objective.value,
        "optimal_for": {
            each.value: configuration(found.config) if (found := best(remaining, each)) else None
            for each in Objective
        },
        "pareto": [configuration(result.config) for result in pareto(remaining)],
        "settings": settings,
        "environment": environment,
        "data": data,
        "soak": [soak_row(each) for each in soaks] or None,
        "all_results": [row(result) for result in results],
    }


def row(result: TrialResult) -> dict[str, Any]:
    """One of `all_results`. MB means 1e6 bytes."""
    peak = result.peak_memory_bytes
    if result.outcome is Outcome.OVER_BUDGET:
        peak = result.minimum_memory_bytes
    step_time_s = result.step_time_s
    return {
        **configuration(result.config),
        "outcome": result.outcome.value,
        "success": result.success,
        "error": result.reason,
        "warnings": list(result.warnings),
        "started": result.started,
        "conclusive": result.conclusive,
        "kept": result.kept,
        "peak_memory_mb": scaled(peak, _BYTES_PER_MB),
        "minimum_memory_mb": scaled(result.minimum_memory_bytes, _BYTES_PER_MB),
        "safe_memory_mb": scaled(result.safe_memory_bytes, _BYTES_PER_MB),
        "step_time_ms": None if step_time_s is None else round(step_time_s * 1e3, 4),
        "tokens_per_second": result.tokens_per_second,
        "throughput_score": result.config.throughput_score,
        "epoch_time_s": result.epoch_time_s,
        "loss": result.loss,
        "warmup_step_times_s": list(result.warmup_step_times_s),
        "step_times_s": list(result.step_times_s),
        "step_tokens": list(result.step_tokens),
        "reference_times_s": list(result.reference_times_s),
        "minimum_memory_bytes": result.minimum_memory_bytes,
        "peak_memory_bytes": result.peak_memory_bytes,
        "active_memory_bytes": result.active_memory_bytes,
        "cache_memory_bytes": result.cache_memory_bytes,
        "footprint_bytes": result.footprint_bytes,
        "swap_growth_bytes": result.swap_growth_bytes,
        "active_growth_mb_per_step": scaled(result.active_growth_bytes_per_step, _BYTES_PER_MB),
        "footprint_growth_mb_per_step": scaled(
            result.footprint_growth_bytes_per_step, _BYTES_PER_MB
        ),
        "predicted_minimum_memory_bytes": result.predicted_minimum_memory_bytes,
    }


def soak_row(soak: SoakResult) -> dict[str, Any]:
    """One of `soak`. MB means 1e6 bytes."""
    return {
        **configuration(soak.config),
        "outcome": soak.outcome.value,
        "success": soak.success,
        "error": soak.reason,
        "warnings": list(soak.warnings),
        "conclusive": soak.conclusive,
        "asked_minutes": soak.asked_s / 60,
        "minutes": soak.duration_s / 60,
        "steps": soak.steps,
        "peak_memory_mb": scaled(soak.peak_memory_bytes, _BYTES_PER_MB),
        "trial_peak_memory_mb": scaled(soak.trial_peak_memory_bytes, _BYTES_PER_MB),
        "footprint_bytes": soak.footprint_bytes,
        "active_growth_mb_per_step": scaled(soak.active_growth_bytes_per_step, _BYTES_PER_MB),
        "footprint_growth_mb_per_step": scaled(soak.footprint_growth_bytes_per_step, _BYTES_PER_MB),
        "slowdown": soak.slowdown,
        "first_tenth_step_time_s": soak.first_tenth_step_time_s,
        "last_tenth_step_time_s": soak.last_tenth_step_time_s,
        "swap_growth_bytes": soak.swap_growth_bytes,
    }


def configuration(config: LoraConfig) -> dict[str, Any]:
    """How the files name it; `store.history` reads it back."""
    return {
        "batch_size": config.batch_size,
        "lora_rank": config.rank,
        "lora_layers": config.num_layers,
        "max_seq_length": config.max_seq_length,
        "grad_checkpoint": config.grad_checkpoint,
    }


def created_at() -> str:
    """Now, as the files say it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def scaled(count_bytes: float | None, unit: float) -> float | None:
    return None if count_bytes is None else count_bytes / unit


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write atomically; a number that is not finite as null. OutputError where that fails."""
    text = json.dumps(clean(document), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n", OUTPUT_FLAG)
