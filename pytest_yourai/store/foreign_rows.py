"""Rows of other programs' recordings and of older profiles, with what they lack filled in."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.units import MB

_LEAST, _MOST = 1e-6, 1e9
"""Limits of megabytes, seconds and milliseconds: all that is outside is a mistake."""

_MEMORY_WORDS = re.compile(r"\boom\b|out of memory|insufficient memory|memory limit", re.IGNORECASE)

_REQUIRED = ("batch_size", "lora_rank", "lora_layers")


def completed(row: Mapping[str, Any], usual_seq_length: int) -> dict[str, Any]:
    """What a row of ours needs, from one with a configuration, an outcome and some measures.

    A row without a sequence length has `usual_seq_length`, in tokens; peak memory stands in for
    minimum memory that was not recorded. ValueError, in words, for a success without measures.
    """
    if missing := [key for key in (*_REQUIRED, "success") if key not in row]:
        raise ValueError(f"{missing[0]}: it is missing")
    outcome, reason = _outcome(row)
    peak, times_s = _bytes(row, "peak_memory"), _step_times(row)
    if outcome is Outcome.OK and (peak is None or not times_s):
        raise ValueError("it is a success, but peak_memory_mb or step_time_ms is not above 0")
    length = row.get("max_seq_length", row.get("seq_length", usual_seq_length))
    return {
        **{key: row[key] for key in _REQUIRED},
        "max_seq_length": length,
        "grad_checkpoint": row.get("grad_checkpoint") is True,
        "outcome": outcome,
        "error": reason,
        "warnings": [],
        "started": outcome not in (Outcome.SKIPPED, Outcome.UNAVAILABLE),
        "conclusive": True,
        "warmup_step_times_s": _times(row.get("warmup_step_times_s")),
        "step_times_s": times_s,
        "step_tokens": _step_tokens(row, length, times_s),
        "minimum_memory_bytes": _bytes(row, "minimum_memory") or peak,
        "peak_memory_bytes": peak,
        "predicted_minimum_memory_bytes": _bytes(row, "predicted_minimum_memory"),
    }


_EARLIER_SKIPS = {
    "predicted over the budget": SkipReason.PREDICTED_OVER_BUDGET,
    "no smaller than": SkipReason.DOMINATED,
}
"""The first words of a skipped trial's error, from before rows had a `skip_reason`."""


def earlier_skip_reason(row: Mapping[str, Any]) -> SkipReason | None:
    """The `skip_reason` of an older row that has none; None if it was not skipped for memory."""
    if row.get("outcome") != Outcome.SKIPPED or row.get("started") is not False:
        return None
    error = str(row.get("error"))
    return next((each for text, each in _EARLIER_SKIPS.items() if error.startswith(text)), None)


def lacks_minimum(row: Mapping[str, Any]) -> bool:
    """True if the row has a peak alone."""
    return _bytes(row, "minimum_memory") is None and _bytes(row, "peak_memory") is not None


def amount(value: Any, most: float = _MOST) -> float | None:
    """A number above 0 that can be an amount; None for everything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if _LEAST <= value <= most else None


def _outcome(row: Mapping[str, Any]) -> tuple[Outcome, str | None]:
    """The outcome that the row names, else from `success` and the text of its error."""
    if not isinstance(row["success"], bool):
        raise ValueError("success must be true or false")  # noqa: TRY004 - pydantic's own error
    if row["success"]:
        return Outcome.OK, None
    text = str(row.get("error") or "failed, its recording does not say why")
    named = next((each for each in Outcome if each == row.get("outcome")), Outcome.OK)
    if named is not Outcome.OK:
        return named, text
    if _MEMORY_WORDS.search(text):
        return Outcome.OOM, text
    known = recognise(text)
    return (known.outcome if known else Outcome.ERROR), text


def _step_times(row: Mapping[str, Any]) -> list[float]:
    if times := _times(row.get("step_times_s")):
        return times
    median_ms = amount(row.get("step_time_ms"))
    return [] if median_ms is None else [median_ms / 1e3]


def _step_tokens(row: Mapping[str, Any], length: Any, times_s: list[float]) -> list[int]:
    """Tokens of each step, from the tokens per second, else those of full rows."""
    speed, batch = amount(row.get("tokens_per_second"), _MOST * 1e3), row.get("batch_size")
    if not times_s or amount(length) is None or amount(batch) is None:
        return []
    tokens = batch * (length - 1) if speed is None else speed * statistics.median(times_s)
    return [round(tokens)] * len(times_s)


def _times(listed: Any) -> list[float]:
    """Seconds; none where one of them cannot be a time."""
    times = [amount(each) for each in listed] if isinstance(listed, list) else []
    return [each for each in times if each] if all(times) else []


def _bytes(row: Mapping[str, Any], name: str) -> int | None:
    """Memory under its name in bytes, else in MB."""
    count = amount(row.get(f"{name}_bytes"), _MOST * MB)
    count_mb = amount(row.get(f"{name}_mb"))
    return round(count or (count_mb or 0) * MB) or None
