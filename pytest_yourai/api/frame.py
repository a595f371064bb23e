"""The rows of a profile as columns of plain values, as a data frame takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import GB, scaled


def _gb(name: str) -> Callable[[TrialResult], float | None]:
    return lambda row: scaled(getattr(row, name), GB)


_MEASURED: dict[str, Callable[[TrialResult], Any]] = {
    "outcome": lambda row: row.outcome.value,
    "error": lambda row: row.error,
    "score": lambda row: row.config.throughput_score,
    "minimum_memory_gb": _gb("minimum_memory_bytes"),
    "peak_memory_gb": _gb("peak_memory_bytes"),
    "predicted_minimum_memory_gb": _gb("predicted_minimum_memory_bytes"),
    "predicted_peak_memory_gb": _gb("predicted_peak_memory_bytes"),
    "step_time_s": lambda row: row.step_time_s,
    "update_time_s": lambda row: row.update_time_s,
    "tokens_per_second": lambda row: row.tokens_per_second,
    "epoch_time_s": lambda row: row.epoch_time_s,
    "loss": lambda row: row.loss,
}


def columns_of(rows: Iterable[TrialResult]) -> dict[str, list[Any]]:
    """Each column by its name, axes first. GB (1e9 bytes) and seconds; None where not measured."""
    every = list(rows)
    axes = {axis.name: [axis.stored(row.config) for row in every] for axis in AXES}
    return axes | {name: [value(row) for row in every] for name, value in _MEASURED.items()}
