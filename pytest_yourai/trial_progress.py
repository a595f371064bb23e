"""How far a trial or a soak is while it runs, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of it. Bytes and seconds.

    `phase` is what the worker does, in words; `step` counts from 1 within the phase, `steps` is how
    many it has, None where that is not known. Memory is MLX's, None before it was told, the peak
    that of the whole trial. `left_s` is None where nobody knows.
    """

    phase: str
    step: int | None
    steps: int | None
    active_bytes: int | None
    peak_bytes: int | None
    memory_limit_bytes: int
    left_s: float | None = None


Tell = Callable[[Progress], None]
"""Hears of it, at the beginning and then a few times a second, between messages of the worker."""


def nobody_hears(progress: Progress) -> None:
    """For runs that nobody looks at."""
