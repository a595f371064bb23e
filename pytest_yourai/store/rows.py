"""One row of a profile, or of another program's recording, as the trial that it tells of."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.results import Outcome, SkipReason, TrialResult

_BYTES_PER_MB = 1e6

_MOST = 1_000_000_000
"""Of what a configuration counts, of megabytes and of milliseconds: more is a mistake."""

_LEAST = 1e-6
"""Of megabytes, seconds and milliseconds: less is a mistake."""

_MEMORY_WORDS = re.compile(r"\boom\b|out of memory|insufficient memory|memory limit", re.IGNORECASE)


def trial_result(row: Any, model: str, usual_seq_length: int) -> TrialResult:
    """The trial that `row` of a profile, or of a foreign recording, tells of.

    A row without a sequence length has `usual_seq_length`, in tokens. KeyError, TypeError,
    ValueError or OverflowError, in words for `why`, where it is no such row.
    """
    if not isinstance(row, dict):
        raise TypeError("it must be an object with batch_size, lora_rank and so on")
    if "step_tokens" in row and "conclusive" in row:
        # An older row may lack a key.
        with contextlib.suppress(KeyError):
            return dataclasses.replace(result_from_row(row, model, 0), memory_limit_bytes=None)
    return _foreign_result(row, model, usual_seq_length)


def _foreign_result(row: Mapping[str, Any], model: str, usual_seq_length: int) -> TrialResult:
    """Of a row that has no more than the keys of a configuration, an outcome and its measures."""
    length = _whole(row.get("max_seq_length", row.get("seq_length", usual_seq_length)))
    config = LoraConfig(
        batch_size=_whole(row["batch_size"]),
        rank=_whole(row["lora_rank"]),
        num_layers=_whole(row["lora_layers"]),
        max_seq_length=length,
        grad_checkpoint=row.get("grad_checkpoint") is True,
    )
    peak = amount(row.get("peak_memory_mb"))
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
        step_tokens=_step_tokens(row, config, times),
        predicted_minimum_memory_bytes=_bytes(row, "predicted_minimum_memory_bytes"),
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
    known = recognise(text)
    return (known.outcome if known else Outcome.ERROR), text


def _step_times(row: Mapping[str, Any]) -> tuple[float, ...]:
    if times := _times(row.get("step_times_s")):
        return times
    middle_ms = amount(row.get("step_time_ms"))
    return () if middle_ms is None else (middle_ms / 1e3,)


def _step_tokens(
    row: Mapping[str, Any], config: LoraConfig, times_s: tuple[float, ...]
) -> tuple[int, ...]:
    """From its tokens per second where it has them, else those of full rows."""
    tokens: float = config.batch_size * (config.max_seq_length - 1)
    speed = amount(row.get("tokens_per_second"), _MOST * 1e3)
    if speed is not None and times_s:
        tokens = speed * statistics.median(times_s)
    return (round(tokens),) * len(times_s)


def _bytes(row: Mapping[str, Any], key: str) -> int | None:
    count_bytes = amount(row.get(key), _MOST * _BYTES_PER_MB)
    return None if count_bytes is None else round(count_bytes)


def _times(listed: Any) -> tuple[float, ...]:
    """Seconds; nothing where any of them is no time."""
    times = [amount(each) for each in listed] if isinstance(listed, list) else []
    return tuple(each for each in times if each) if all(times) else ()


def _minimum_mb(row: Mapping[str, Any]) -> float | None:
    count_bytes = amount(row.get("minimum_memory_bytes"), _MOST * _BYTES_PER_MB)
    if count_bytes is not None:
        return count_bytes / _BYTES_PER_MB
    return amount(row.get("minimum_memory_mb"))


def lacks_minimum(row: Mapping[str, Any]) -> bool:
    """Whether it has a peak alone."""
    return _minimum_mb(row) is None and amount(row.get("peak_memory_mb")) is not None


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    if value > _MOST:
        raise ValueError(f"a number above {_MOST:,} is none of a configuration")
    return value


def amount(value: Any, most: float = _MOST) -> float | None:
    """A number above 0 that can be an amount; None for whatever else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if _LEAST <= value <= most else None


def why(problem: Exception) -> str:
    """What `trial_result` refused, in words."""
    return f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)


_AMOUNTS = (
    "minimum_memory_bytes",
    "peak_memory_bytes",
    "active_memory_bytes",
    "cache_memory_bytes",
    "footprint_bytes",
    "swap_growth_bytes",
    "predicted_minimum_memory_bytes",
)

_MB = 1e6

_MOST_COUNTED = 1 << 62

_LEAST_S, _MOST_S = 1e-9, 1e9
"""Of what a step takes: beyond them it is a mistake, whose ratios no float holds."""

_T = TypeVar("_T")


def result_from_row(row: Mapping[str, Any], model: str, memory_limit_bytes: int) -> TrialResult:
    """What `store.profile.row` was made from.

    KeyError, TypeError or ValueError where it is not such a row, or not of a trial that can be.
    """
    amounts: Any = {name: _optional(row[name], _counted) for name in _AMOUNTS}
    result = TrialResult(
        model=model,
        config=_config(row),
        outcome=Outcome(row["outcome"]),
        **_reasons(row),
        warnings=tuple(map(_text, _is(row["warnings"], list))),
        started=_is(row["started"], bool),
        conclusive=_is(row["conclusive"], bool),
        warmup_step_times_s=tuple(map(_time, _is(row["warmup_step_times_s"], list))),
        step_times_s=tuple(map(_time, _is(row["step_times_s"], list))),
        step_tokens=tuple(map(_counted, _is(row["step_tokens"], list))),
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


_EARLIER_SKIPS = {
    "predicted over the budget": SkipReason.PREDICTED_OVER_BUDGET,
    "no smaller than": SkipReason.DOMINATED,
}
"""How the text of a skipped trial began before its row said why as `skip_reason`."""


def _reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """Why it ended so, and what to do: `error` is both in one sentence."""
    error, remedy = _optional(row["error"], _text), _optional(row.get("remedy"), _text)
    skip = _optional(row.get("skip_reason"), SkipReason)
    if "skip_reason" not in row and row["outcome"] == Outcome.SKIPPED and row["started"] is False:
        known = (each for text, each in _EARLIER_SKIPS.items() if (error or "").startswith(text))
        skip = next(known, None)
    reason = error and error.removesuffix(f"; {remedy}")
    return {"reason": reason, "remedy": remedy, "skip_reason": skip}


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


def _counted(value: Any) -> int:
    number = int(_is(value, int))
    if not 0 <= number < _MOST_COUNTED:
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
    return _number(value) * _MB


def _is(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not of type {kind}")
    return value
