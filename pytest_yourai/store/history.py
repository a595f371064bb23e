"""What a journal says of earlier runs. Reads past whatever is torn or not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_yourai.config import LoraConfig
from pytest_yourai.results import Outcome, TrialResult

_INTEGERS = (
    "minimum_memory_bytes",
    "peak_memory_bytes",
    "active_memory_bytes",
    "cache_memory_bytes",
    "footprint_bytes",
    "swap_growth_bytes",
    "predicted_minimum_memory_bytes",
)
_BYTES_PER_MB = 1e6


@dataclass
class PastRun:
    """One run, from its benchmark_start on.

    `unfinished` is the trial that had begun when the journal broke off, None where the run ended
    in order. `budget_bytes` is 0 where it broke off before there was one.
    """

    run_id: str
    identity: Mapping[str, Any]
    boot_id: str | None
    budget_bytes: int = 0
    budget_is_detected: bool = False
    device: Mapping[str, Any] = field(default_factory=dict)
    results: dict[LoraConfig, TrialResult] = field(default_factory=dict)
    unfinished: LoraConfig | None = None
    unfinished_at: float = 0.0


@dataclass(frozen=True)
class History:
    """The runs of a journal, oldest first, and how many of its lines could not be read."""

    name: str
    runs: tuple[PastRun, ...]
    unreadable_lines: int


def read_history(path: Path) -> History:
    """An empty one where there is no file."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    runs: list[PastRun] = []
    unreadable = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            _take(event, runs)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            unreadable += 1
    return History(path.name, tuple(runs), unreadable)


def _take(event: Mapping[str, Any], runs: list[PastRun]) -> None:
    match event["event"]:
        case "benchmark_start":
            identity = event.get("identity", {})
            runs.append(PastRun(str(event["run_id"]), dict(identity), event.get("boot_id")))
        case "model_start" if runs:
            runs[-1].budget_bytes = int(event["memory_limit_bytes"])
            runs[-1].budget_is_detected = bool(event.get("memory_limit_is_detected"))
            runs[-1].device = dict(event.get("device") or {})
        case "trial_start" if runs:
            runs[-1].unfinished = _config(event)
            runs[-1].unfinished_at = float(event["timestamp"])
        case "trial_complete" if runs:
            result = result_from_row(event, str(event["model"]), runs[-1].budget_bytes)
            runs[-1].results[result.config] = result
            runs[-1].unfinished = None
        case "benchmark_complete" if runs:
            runs[-1].unfinished = None


def result_from_row(row: Mapping[str, Any], model: str, memory_limit_bytes: int) -> TrialResult:
    """What `store.profile.row` was made from.

    KeyError, TypeError or ValueError where it is not such a row.
    """
    return TrialResult(
        model=model,
        config=_config(row),
        outcome=Outcome(row["outcome"]),
        reason=_optional(row["error"], str),
        warnings=tuple(_each(row["warnings"], str)),
        started=_is(row["started"], bool),
        warmup_step_times_s=tuple(map(float, _each(row["warmup_step_times_s"], int | float))),
        step_times_s=tuple(map(float, _each(row["step_times_s"], int | float))),
        step_tokens=tuple(_each(row["step_tokens"], int)),
        loss=_optional(row["loss"], int | float),
        active_growth_bytes_per_step=_megabytes(row["active_growth_mb_per_step"]),
        footprint_growth_bytes_per_step=_megabytes(row["footprint_growth_mb_per_step"]),
        memory_limit_bytes=memory_limit_bytes,
        **{name: _optional(row[name], int) for name in _INTEGERS},
    )


def _config(row: Mapping[str, Any]) -> LoraConfig:
    return LoraConfig(
        batch_size=_is(row["batch_size"], int),
        rank=_is(row["lora_rank"], int),
        num_layers=_is(row["lora_layers"], int),
        max_seq_length=_is(row["max_seq_length"], int),
        grad_checkpoint=_is(row["grad_checkpoint"], bool),
    )


def _megabytes(value: Any) -> float | None:
    number = _optional(value, int | float)
    return None if number is None else number * _BYTES_PER_MB


def _optional(value: Any, kind: Any) -> Any:
    return None if value is None else _is(value, kind)


def _each(values: Any, kind: Any) -> Iterator[Any]:
    return (_is(value, kind) for value in _is(values, list))


def _is(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not of type {kind}")
    return value
