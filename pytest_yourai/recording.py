"""Recorded measurements: a profile of ours, or any JSON with a model and rows like a profile's."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pytest_yourai.classify import Evidence, classify
from pytest_yourai.config import LoraConfig, Quantization, QuantizeChoice
from pytest_yourai.errors import OptionError, RecordingError
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.search import lightest_first
from pytest_yourai.step_memory import Backend
from pytest_yourai.store.history import result_from_row

_BYTES_PER_MB = 1e6
_BYTES_PER_GB = 1e9

_MOST = 1_000_000_000
"""Of what a configuration counts, of megabytes and of milliseconds: more is a mistake."""

_MEMORY_WORDS = re.compile(r"\boom\b|out of memory|insufficient memory|memory limit", re.IGNORECASE)

PEAKS_STAND_IN = "peaks_stand_in_for_minima"
"""The setting of a profile whose minima are another recording's peaks."""


@dataclass(frozen=True)
class Recording:
    """What was measured somewhere, some time, by configuration.

    `memory_limit_bytes` is None where the recording does not tell. `has_minima` says that the rows
    have minimum memory: where they have not, their peaks stand in for it.
    """

    name: str
    model: str
    results: Mapping[LoraConfig, TrialResult]
    has_minima: bool
    memory_limit_bytes: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_seq_lengths(self) -> tuple[int, ...]:
        """All that it has, in tokens, ascending."""
        return tuple(sorted({config.max_seq_length for config in self.results}))

    @property
    def grad_checkpoints(self) -> tuple[bool, ...]:
        """Without, with, or both."""
        return tuple(sorted({config.grad_checkpoint for config in self.results}))

    def configs(
        self, max_seq_lengths: Collection[int] | None, grad_checkpoint: bool | None
    ) -> list[LoraConfig]:
        """What was recorded, lightest first, of these lengths and with or without checkpointing.

        None stands for all. OptionError, naming the flag, for what was not recorded.
        """
        if missing := set(max_seq_lengths or ()).difference(self.max_seq_lengths):
            raise OptionError(
                f"--yourai-seq-length: {self.name} was recorded at "
                f"{_listed(self.max_seq_lengths)}, not at {_listed(sorted(missing))}: leave it out"
            )
        chosen = [
            config
            for config in self.results
            if (max_seq_lengths is None or config.max_seq_length in max_seq_lengths)
            and grad_checkpoint in (None, config.grad_checkpoint)
        ]
        if not chosen:
            without = "" if grad_checkpoint else "out "
            raise OptionError(
                f"--yourai-grad-checkpoint: {self.name} has nothing with{without} checkpointing: "
                "leave it out"
            )
        return lightest_first(chosen)

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
    return parse_recording(read_document(path), path, usual_seq_length)


def parse_recording(document: Mapping[str, Any], path: Path, usual_seq_length: int) -> Recording:
    """As `read_recording`, of a document that was found in the file `path`."""
    model, rows = document.get("model"), document.get("all_results")
    if not isinstance(model, str) or not model.strip():
        raise RecordingError(f"{path}: model: it must name the model that was measured")
    if not isinstance(rows, list) or not rows:
        raise RecordingError(f"{path}: all_results: it must be a list of measured rows")
    settings = _mapping(document.get("settings"))
    length = _length(document, settings) or usual_seq_length
    results: dict[LoraConfig, TrialResult] = {}
    for number, row in enumerate(rows, 1):
        try:
            result = _result(row, model, length)
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise RecordingError(f"{path}: all_results: row {number}: {_said(problem)}") from None
        earlier = results.get(result.config)
        if result.started and not (earlier is not None and earlier.success):
            results[result.config] = result
    if not results:
        raise RecordingError(f"{path}: all_results: none of its rows was measured: name another")
    limit_gb = _amount(document.get("memory_limit_gb"))
    peaks_stand_in = settings.get(PEAKS_STAND_IN) is True or any(map(_lacks_minimum, rows))
    return Recording(
        name=path.name,
        model=model,
        results=results,
        has_minima=not peaks_stand_in,
        memory_limit_bytes=None if limit_gb is None else round(limit_gb * _BYTES_PER_GB),
        settings=settings,
        environment=_mapping(document.get("environment")),
    )


def backend_of(environment: Mapping[str, Any]) -> Backend:
    """Of a recording's environment; CUDA where it does not tell, as of most foreign recordings."""
    backend = environment.get("backend")
    return next((each for each in get_args(Backend) if each == backend), "cuda")


def read_document(path: Path) -> Mapping[str, Any]:
    """The JSON object in `path`; RecordingError where it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise RecordingError(f"{path} cannot be read: {problem.strerror}; name a profile") from None
    except (ValueError, RecursionError) as problem:
        raise RecordingError(f"{path} is no JSON: {problem}; name a profile") from None
    if not isinstance(document, dict):
        raise RecordingError(f"{path} is no profile: it must have the keys model and all_results")
    return document


def _result(row: Any, model: str, usual_seq_length: int) -> TrialResult:
    if not isinstance(row, dict):
        raise TypeError("it must be an object with batch_size, lora_rank and so on")
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
    minimum = _minimum_mb(row) or peak
    warmup = row.get("warmup_step_times_s")
    times = _step_times(row)
    outcome, reason = _outcome(row)
    if outcome is Outcome.OK and (peak is None or not times):
        raise ValueError("it is a success, but peak_memory_mb or step_time_ms is no number above 0")
    return TrialResult(
        model=model,
        config=config,
        outcome=outcome,
        reason=reason,
        started=outcome not in (Outcome.SKIPPED, Outcome.UNAVAILABLE),
        warmup_step_times_s=_times(warmup),
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
    named = next((each for each in Outcome if each == row.get("outcome")), Outcome.OK)
    if named is not Outcome.OK:
        return named, text
    if _MEMORY_WORDS.search(text):
        return Outcome.OOM, text
    outcome, _ = classify(Evidence(where="in its recording", exception=text))
    return outcome, text


def _step_times(row: Mapping[str, Any]) -> tuple[float, ...]:
    if times := _times(row.get("step_times_s")):
        return times
    middle_ms = _amount(row.get("step_time_ms"))
    return () if middle_ms is None else (middle_ms / 1e3,)


def _times(listed: Any) -> tuple[float, ...]:
    """Seconds; nothing where any of them is no time."""
    times = [_amount(each) for each in listed] if isinstance(listed, list) else []
    return tuple(each for each in times if each) if all(times) else ()


def _minimum_mb(row: Mapping[str, Any]) -> float | None:
    count_bytes = _amount(row.get("minimum_memory_bytes"), _MOST * _BYTES_PER_MB)
    if count_bytes is not None:
        return count_bytes / _BYTES_PER_MB
    return _amount(row.get("minimum_memory_mb"))


def _lacks_minimum(row: Mapping[str, Any]) -> bool:
    """Whether it has a peak alone."""
    return _minimum_mb(row) is None and _amount(row.get("peak_memory_mb")) is not None


def _length(document: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    for value in (document.get("seq_length"), settings.get("max_seq_length")):
        if isinstance(value, int) and value > 1:
            return value
    return None


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    if value > _MOST:
        raise ValueError(f"a number above {_MOST:,} is none of a configuration")
    return value


def _amount(value: Any, most: float = _MOST) -> float | None:
    """A number above 0 that can be an amount; None for whatever else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value <= most else None


def _said(problem: Exception) -> str:
    return f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
