"""Progress of a trial or a soak, as it is shown while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_yourai.core.config import COMPILE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """Progress of a trial or a soak. Bytes and seconds.

    `phase` is what the worker does; `step` counts from 1 within the phase, `steps` is how many it
    has, None where that is not known. Memory is MLX's, None until it is known, the peak that of the
    whole trial. `left_s` is None where nobody knows. `compiling_s` is None unless the step
    compiles, for `compile_timeout_s` at most.
    """

    phase: str
    step: int | None
    steps: int | None
    active_bytes: int | None
    peak_bytes: int | None
    memory_limit_bytes: int
    left_s: float | None = None
    compiling_s: float | None = None
    compile_timeout_s: float = COMPILE_TIMEOUT_S


OnProgress = Callable[[TrialProgress], None]
"""Called at the beginning, when compiling begins and ends, and then a few times a second, between
messages of the worker."""
