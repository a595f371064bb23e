"""Why training ends for memory, or goes on in a fresh process."""

from __future__ import annotations

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.worker.protocol import EndReason, TrainedStep, TrainingRequest

_ACTIVE_GROWTH = 1.1
"""Times the usual active memory after a step: more is memory that the run has lost."""


class MemoryReasons:
    """Judges what a process holds after each step; `first_step` are those of earlier processes."""

    def __init__(self, request: TrainingRequest, first_step: int) -> None:
        self._request = request
        self._first_step = first_step
        self._usual_active_bytes = request.usual_active_bytes

    def after(self, trained: TrainedStep) -> dict[EndReason, bool]:
        """Each reason to end, the weightiest first, and whether it holds after the step."""
        request, accumulation = self._request, self._request.config.grad_accumulation_steps
        is_whole = trained.step % accumulation == 0
        is_warm = trained.step - self._first_step > COMPILING_STEPS * accumulation
        # Within a cycle the accumulated gradients are held, too.
        if self._usual_active_bytes is None and is_warm and is_whole:
            self._usual_active_bytes = trained.active_memory_bytes
        is_over = is_warm and trained.peak_memory_bytes > request.memory_limit_bytes
        return {
            # A fresh process would begin a broken cycle anew.
            "active_memory": is_whole and self._has_lost_memory(trained),
            "footprint": is_whole and self._holds_too_much(trained),
            "memory_limit": is_over and not request.may_pass_the_limit,
        }

    def _has_lost_memory(self, trained: TrainedStep) -> bool:
        most, usual = self._request.reload_active_bytes, self._usual_active_bytes
        if most is None or usual is None:
            return False
        return trained.active_memory_bytes > max(most, _ACTIVE_GROWTH * usual)

    def _holds_too_much(self, trained: TrainedStep) -> bool:
        most = self._request.reload_footprint_bytes
        return most is not None and (trained.footprint_bytes or 0) > most
