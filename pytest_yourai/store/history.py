"""What a journal says of earlier runs. Reads past whatever is torn or not ours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_yourai.config import LoraConfig
from pytest_yourai.results import Outcome, TrialResult

_AMOUNTS = (
    "minimum_memory_bytes",
    "peak_memory_bytes",
    "active_memory_bytes",
    "cache_memory_bytes",
    "footprint_bytes",
    "swap_growth_bytes",
    "predicted_minimum_memory_bytes",
)
_BYTES_PER_MB = 1e6
_MOST = 1 << 62
_LEAST_S, _MOST_S = 1e-9, 1e9
"""Of what a step takes: beyond them it is a mistake, whose ratios no float holds."""

_T = TypeVar("_T")


@dataclass
class PastRun:
    """One run, from its benchmark_start on.

    `unfinished` is the trial that had begun when the journal broke off, None where the run ended
    in order. `budget_bytes` is 0 where it broke off before there was one.
    """

    identity: Mapping[str, Any]
    boot_id: str | None
    pid: int | None = None
    """Of the pytest process: one that goes through several models begins a run for each."""
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
    runs: dict[str, PastRun] = {}
    unreadable = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            _take(event, runs)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            unreadable += 1
    return History(path.name, tuple(runs.values()), unreadable)


def _take(event: Mapping[str, Any], runs: dict[str, PastRun]) -> None:
    name = event["event"]
    if name == "benchmark_start":
        identity = dict(event["identity"])
        runs[str(event["run_id"])] = PastRun(identity, event.get("boot_id"), event.get("pid"))
        return
    if name not in ("model_start", "trial_start", "trial_complete", "benchmark_complete"):
        return
    run = runs.get(event["run_id"])
    if run is None:
        # The line that says what kind of run it was is lost.
        return
    match name:
        case "model_start":
            run.budget_bytes = _whole(event["memory_limit_bytes"])
            run.budget_is_detected = _is(event["memory_limit_is_detected"], bool)
            run.device = dict(event["device"])
        case "trial_start":
            run.unfinished, run.unfinished_at = _config(event), _number(event["timestamp"])
        case "trial_complete":
            result = result_from_row(event, str(run.identity["model"]), run.budget_bytes)
            run.results[result.config] = result
            run.unfinished = None
        case "benchmark_complete":
            run.unfinished = None


def result_from_row(row: Mapping[str, Any], model: str, memory_limit_bytes: int) -> TrialResult:
    """What `store.profile.row` was made from.

    KeyError, TypeError or ValueError where it is not such a row, or not of a trial that can be.
    """
    amounts: Any = {name: _optional(row[name], _whole) for name in _AMOUNTS}
    result = TrialResult(
        model=model,
        config=_config(row),
        outcome=Outcome(row["outcome"]),
        reason=_optional(row["error"], _text),
        warnings=tuple(map(_text, _is(row["warnings"], list))),
        started=_is(row["started"], bool),
        conclusive=_is(row["conclusive"], bool),
        warmup_step_times_s=tuple(map(_time, _is(row["warmup_step_times_s"], list))),
        step_times_s=tuple(map(_time, _is(row["step_times_s"], list))),
        step_tokens=tuple(map(_whole, _is(row["step_tokens"], list))),
        reference_times_s=tuple(map(_time, _is(row.get("reference_times_s", []), list))),
        loss=_optional(row["loss"], _number),
        epoch_time_s=_optional(row.get("epoch_time_s"), _number),
        active_growth_bytes_per_step=_optional(row["active_growth_mb_per_step"], _megabytes),
        footprint_growth_bytes_per_step=_optional(row["footprint_growth_mb_per_step"], _megabytes),
        memory_limit_bytes=memory_limit_bytes,
        **amounts,
    )
    if result.success and not (
        result.step_times_s and result.minimum_memory_bytes and result.peak_memory_bytes
    ):
        raise ValueError("an ok trial has step times, a minimum and a peak")
    if result.success and len(result.step_tokens) != len(result.step_times_s):
        raise ValueError("an ok trial has as many step_tokens as step_times_s")
    return result


def _config(row: Mapping[str, Any]) -> LoraConfig:
    return LoraConfig(
        batch_size=_is(row["batch_size"], int),
        rank=_is(row["lora_rank"], int),
        num_layers=_is(row["lora_layers"], int),
        max_seq_length=_is(row["max_seq_length"], int),
        grad_checkpoint=_is(row["grad_checkpoint"], bool),
    )


def _optional(value: Any, read: Callable[[Any], _T]) -> _T | None:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    return str(_is(value, str))


def _whole(value: Any) -> int:
    number = int(_is(value, int))
    if not 0 <= number < _MOST:
        raise ValueError(f"{number} is no amount")
    return number


def _number(value: Any) -> float:
    number = float(_is(value, int | float))
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _time(value: Any) -> float:
    number = _number(value)
    if not _LEAST_S <= number <= _MOST_S:
        raise ValueError(f"{number} is no time that a step takes")
    return number


def _megabytes(value: Any) -> float:
    return _number(value) * _BYTES_PER_MB


def _is(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not of type {kind}")
    return value
