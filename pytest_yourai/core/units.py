"""The one formatter and reader of numbers with units. GB means 1e9 bytes, as in mlx-lm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

GB = 1e9

MB = 1e6

_KB = 1e3

_GIB = 1 << 30

_MEMORY_UNITS = ((GB, "GB"), (MB, "MB"), (_KB, "kB"))

_ROUNDED_UP = 0.99995
"""From this share of a unit on, a number in the next smaller one would be written as 1,000.0."""

_SHORTEST_MINUTES = 2
"""Shorter times are shown in seconds."""

_FAR_BELOW = 20

_SHORT_S = 0.01
"""Shorter step times have a digit behind the point of their milliseconds."""

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([KMBT])")

_COUNT_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def gigabytes(count_bytes: float) -> str:
    """Memory of models: `12.4 GB`; less than 1 GB as `5.3 MB`, and no memory as `0 MB`."""
    return same_memory([count_bytes])(count_bytes)


def same_memory(values: Iterable[float | None]) -> Callable[[float], str]:
    """`gigabytes` for all of a column of `values`, in one unit."""
    least = _least([abs(value) for value in values if value])
    unit, name = next(
        ((unit, name) for unit, name in _MEMORY_UNITS if least >= unit * _ROUNDED_UP), (MB, "MB")
    )
    return lambda value: f"{value / unit:,.1f} {name}" if value else f"0 {name}"


def _least(values: Sequence[float]) -> float:
    """What decides on their unit: the smallest, unless it is far below the largest."""
    return max(min(values), max(values) / _FAR_BELOW) if values else 0.0


def machine_memory(count_bytes: float) -> str:
    """A machine's size in both units: `38.7 GB (36 GiB)`."""
    return f"{count_bytes / GB:.1f} GB ({count_bytes / _GIB:.0f} GiB)"


def seconds(value: float) -> str:
    """A step time: `1.2s`, `35ms`."""
    return same_seconds([value])(value)


def same_seconds(values: Iterable[float | None]) -> Callable[[float], str]:
    """`seconds` for all of a column of `values`, in one unit."""
    least = _least([value for value in values if value])
    if least >= 1 or not least:
        return lambda value: f"{value:,.1f}s"
    digits = 1 if least < _SHORT_S else 0
    return lambda value: f"{value * 1e3:,.{digits}f}ms"


def duration(value_s: float) -> str:
    """A waiting time: `45 s`, `12 min`, `3 h 05 min`."""
    if value_s < _SHORTEST_MINUTES * 60:
        return f"{value_s:.0f} s" if value_s >= 1 else "1 s"
    minutes = round(value_s / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - 60 min


def clock(value_s: float) -> str:
    """A time that passes: `0:42`, `12:05`, `1:02:05`."""
    minutes, rest = divmod(int(value_s), 60)
    if minutes < 60:  # noqa: PLR2004 - 60 min
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def parameter_count(text: str) -> float:
    """The number that `7B` or `0.3M` means; ValueError where it means none."""
    match = _COUNT.fullmatch(text.strip().upper())
    number = float(match[1]) * _COUNT_UNITS[match[2]] if match else 0.0
    if not number:
        raise ValueError(f"{text!r} is not a number of parameters: write it as 7B or 0.3M")
    return number


def parameters(count: float | None) -> str:
    """A model's size as it is called: `7B`, `1.2B`, `0.3M`; `?` where it is not known."""
    if count is None:
        return "?"
    unit = "B" if count >= _COUNT_UNITS["B"] / 10 else "M"
    number = count / _COUNT_UNITS[unit]
    return f"{number:.0f}{unit}" if number >= 10 else f"{round(number, 1):g}{unit}"  # noqa: PLR2004 - two digits


def format_change(share: float) -> str:
    """A relative change: `+5.0 %`, `-0.3 %`; `+0.0 %` for what rounds to nothing."""
    return f"{round(share * 100, 1) + 0.0:+.1f} %"


def plural(count: int, noun: str) -> str:
    """A number of things: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def scaled(count_bytes: float | None, unit: float) -> float | None:
    """`count_bytes` in a larger unit, such as `GB`; None stays None."""
    return None if count_bytes is None else count_bytes / unit
