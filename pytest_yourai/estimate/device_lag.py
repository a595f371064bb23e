"""How far the device may be behind MLX's evaluator, which decides what is free, and when.

MLX's CPU backend (0.32.4) counts what it submits, its dispatches, in tasks of ten, and waits for
whole tasks alone (mlx/backend/cpu/encoder.h): above its memory limit for all of them, else for the
oldest of more than ten (mlx/transforms.cpp). Until then what they read is neither freed nor taken
over.
"""

from __future__ import annotations

from dataclasses import dataclass

_DISPATCHES_OF_A_TASK = 10

_MOST_TASKS = 10
"""MAX_ACTIVE_TASKS."""

_PHASES = (0, 3, 6)
"""So far apart that a moment which only some phases have is the highest at one of these alone."""


@dataclass(frozen=True, slots=True)
class DeviceLag:
    """A device with `tasks` unfinished ones behind the evaluator at most; None: with no lag.

    The step begins `phase` dispatches after the end of a task.
    """

    tasks: int | None = None
    phase: int = 0

    def ended(self, dispatches: int) -> int:
        """Those of the step's first `dispatches` that have surely run."""
        if self.tasks is None:
            return dispatches
        whole = (dispatches + self.phase) // _DISPATCHES_OF_A_TASK - self.tasks
        return whole * _DISPATCHES_OF_A_TASK - self.phase


UNDER_A_LIMIT = tuple(DeviceLag(0, phase) for phase in _PHASES)

WITHOUT_A_LIMIT = (DeviceLag(_MOST_TASKS),)

NONE = (DeviceLag(),)
"""For what is not known of GPUs."""
