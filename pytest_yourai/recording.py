"""Recorded measurements: a profile of ours, or any JSON with a model and rows like a profile's."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pytest_yourai.classify import Evidence, classify
from pytest_yourai.config import LoraConfig, Quantization, QuantizeChoice
from pytest_yourai.errors import RecordingError
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.step_memory import Backend
from pytest_yourai.store.history import result_from_row

_BYTES_PER_MB = 1e6
_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class Recording:
    """What was measured somewhere, some time, by configuration.

    `max_seq_length` is None where the rows do not have one in common, `memory_limit_bytes` where
    the recording does not tell. `has_minima` says that the rows have minimum memory: where they
    have not, their peaks stand in for it.
    """

    name: str
    model: str
    results: Mapping[LoraConfig, TrialResult]
    has_minima: bool
    max_seq_length: int | None
    memory_limit_bytes: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lora_keys(self) -> tuple[str, ...] | None:
        """What it says of them, or None."""
        keys = self.settings.get("lora_keys")
        return tuple(map(str, keys)) if isinstance(keys, list) and keys else None

    @property
    def quantize(self) -> QuantizeChoice:
        """What it says of the base model's quantization, or None."""
        if "quantization" not in self.settings:
            return None
        said = _mapping(self.settings["quantization"])
        try:
            return Quantization(**said) if said else "none"
        except (TypeError, ValueError):
            return None


def read_recording(path: Path, usual_seq_length: int) -> Recording:
    """The recording in `path`; RecordingError, naming file and key, where it is none.

    Rows that name no sequence length take the file's `seq_length`, else `usual_seq_length`.
    """
    document = _read(path)
    model, rows = document.get("model"), document.get("all_results")
    if not isinstance(model, str) or not model.strip():
        raise RecordingError(f"{path}: model: it must name the model that was measured")
    if not isinstance(rows, list) or not rows:
        raise RecordingError(f"{path}: all_results: it must be a list of measured rows")
    settings = _mapping(document.get("settings"))
    length = _length(document, settings) or usual_seq_length
    results = {}
    for number, row in enumerate(rows, 1):
        try:
            result = _result(_mapping(row), model, length)
        except (KeyError, TypeError, ValueError) as problem:
            raise RecordingError(f"{path}: all_results: row {number}: {_said(problem)}") from None
        results[result.config] = result
    lengths = {config.max_seq_length for config in results}
    limit_gb = _amount(document.get("memory_limit_gb"))
    measured = [result for result in results.values() if result.peak_memory_bytes]
    has_minima = not measured or any(_has_minimum(_mapping(row)) for row in rows)
    return Recording(
        name=path.name,
        model=model,
        results=results,
        has_minima=has_minima,
        max_seq_length=lengths.pop() if len(lengths) == 1 else None,
        memory_limit_bytes=None if limit_gb is None else round(limit_gb * _BYTES_PER_GB),
        settings=settings,
        environment=_mapping(document.get("environment")),
    )


def backend_of(environment: Mapping[str, Any]) -> Backend:
    """Of a recording's environment; CUDA where it does not tell, as of most foreign recordings."""
    backend = environment.get("backend")
    return next((each for each in get_args(Backend) if each == backend), "cuda")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise RecordingError(f"{path} cannot be read: {problem.strerror}; name a profile") from None
    except (ValueError, RecursionError) as problem:
        raise RecordingError(f"{path} is no JSON: {problem}; name a profile") from None
    if not isinstance(document, dict):
        raise RecordingError(f"{path} is no profile: it must have the keys model and all_results")
    return document


def _result(row: Mapping[str, Any], model: str, usual_seq_length: int) -> TrialResult:
    if "step_tokens" in row and "conclusive" in row:
        return dataclasses.replace(result_from_row(row, model, 0), memory_limit_bytes=None)
    length = _whole(row.get("max_seq_length", row.get("seq_length", usual_seq_length)))
    config = LoraConfig(
        batch_size=_whole(row["batch_size"]),
        rank=_whole(row["lora_rank"]),
        num_layers=_whole(row["lora_layers"]),
        max_seq_length=length,
        grad_checkpoint=row.get("grad_checkpoint") is True,
    )
    peak = _amount(row.get("peak_memory_mb"))
    minimum = _amount(row.get("minimum_memory_mb")) or peak
    times = _step_times(row)
    outcome, reason = _outcome(row)
    if outcome is Outcome.OK and (peak is None or not times):
        raise ValueError("it is a success, but peak_memory_mb or step_time_ms is no number above 0")
    return TrialResult(
        model=model,
        config=config,
        outcome=outcome,
        reason=reason,
        step_times_s=times,
        step_tokens=(config.batch_size * (length - 1),) * len(times),
        minimum_memory_bytes=None if minimum is None else round(minimum * _BYTES_PER_MB),
        peak_memory_bytes=None if peak is None else round(peak * _BYTES_PER_MB),
    )


def _outcome(row: Mapping[str, Any]) -> tuple[Outcome, str | None]:
    """As the row names it, else from `success` and the text of its error."""
    if not isinstance(row["success"], bool):
        raise TypeError("success must be true or false")
    if row["success"]:
        return Outcome.OK, None
    said = row.get("error")
    text = str(said) if said else "failed, its recording does not say why"
    if row.get("outcome") in set(Outcome) - {Outcome.OK}:
        return Outcome(row["outcome"]), text
    outcome, _ = classify(Evidence(where="in its recording", exception=text))
    return outcome, text


def _step_times(row: Mapping[str, Any]) -> tuple[float, ...]:
    listed = row.get("step_times_s")
    times = [_amount(each) for each in listed] if isinstance(listed, list) else []
    if times and all(times):
        return tuple(each for each in times if each)
    middle_ms = _amount(row.get("step_time_ms"))
    return () if middle_ms is None else (middle_ms / 1e3,)


def _has_minimum(row: Mapping[str, Any]) -> bool:
    return any(_amount(row.get(f"minimum_memory_{unit}")) for unit in ("mb", "bytes"))


def _length(document: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    for value in (document.get("seq_length"), settings.get("max_seq_length")):
        if isinstance(value, int) and value > 1:
            return value
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _amount(value: Any) -> float | None:
    """A number above 0; None for whatever else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _said(problem: Exception) -> str:
    return f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
