"""How long the machine was asleep: the difference of two of its clocks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_CLOCKS = {
    "linux": ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
    "darwin": ("CLOCK_MONOTONIC", "CLOCK_UPTIME_RAW"),
}
"""By platform: the clock that goes on while the machine sleeps, and the one that stands still."""


def asleep_s(
    platform: str = sys.platform, read: Callable[[str], float] | None = None
) -> float | None:
    """Seconds that this machine has slept since its start; None where no clocks tell."""
    read = read or _read
    if platform not in _CLOCKS:
        return None
    going, standing = _CLOCKS[platform]
    try:
        return read(going) - read(standing)
    except (AttributeError, OSError):
        return None


def _read(name: str) -> float:
    return time.clock_gettime(getattr(time, name))
