"""The profile JSON: the answer of a sweep, and every row behind it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.ranking import best, pareto, soak_survivors
from pytest_yourai.core.results import Outcome, SoakResult, TrialResult
from pytest_yourai.core.units import BYTES_PER_GB, scaled
from pytest_yourai.models.dataset_lengths import TrainingData

SCHEMA_VERSION = 1

OUTPUT_FLAG = "--yourai-output"
"""What names the file."""

_BYTES_PER_MB = 1e6


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
    remaining = soak_survivors(results, soaks)
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
        "all_results": [trial_row(result) for result in results],
    }


def trial_row(result: TrialResult) -> dict[str, Any]:
    """One of `all_results`. MB means 1e6 bytes."""
    peak = result.peak_memory_bytes
    if result.outcome is Outcome.OVER_BUDGET:
        peak = result.minimum_memory_bytes
    step_time_s = result.step_time_s
    return {
        **configuration(result.config),
        "outcome": result.outcome.value,
        "success": result.success,
        "error": result.error,
        "skip_reason": result.skip_reason,
        "remedy": result.remedy,
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
        "error": soak.error,
        "remedy": soak.remedy,
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


def data_object(
    data: TrainingData | None, results: Sequence[TrialResult], objective: Objective
) -> dict[str, Any] | None:
    """The profile's `data`; null where rows are made up. Lengths in tokens.

    The histogram is that of the largest max_seq_length.
    """
    if data is None:
        return None
    optimum = best(results, objective)
    configs = [result.config for result in results]
    most = max(config.max_seq_length for config in configs)
    return {
        "rows": data.rows,
        "tokens": data.tokens,
        "shortest": data.shortest,
        "median": data.median,
        "longest": data.longest,
        "histogram": [
            {"from": bar.least, "to": bar.most, "rows": bar.rows} for bar in data.histogram(most)
        ],
        "epochs": [
            _epoch_object(data, *batch)
            for batch in sorted({(config.batch_size, config.max_seq_length) for config in configs})
        ],
        "optimal_epoch_time_s": optimum and optimum.epoch_time_s,
    }


def _epoch_object(data: TrainingData, batch_size: int, max_seq_length: int) -> dict[str, Any]:
    epoch = data.epoch(batch_size, max_seq_length)
    return {
        "batch_size": batch_size,
        "max_seq_length": max_seq_length,
        "rows_cut": data.rows_over(max_seq_length),
        "batches": epoch.batches,
        "trained_tokens": epoch.trained_tokens,
        "padding_share": epoch.padding_share,
        "padded_shapes": epoch.padded_shapes,
    }
