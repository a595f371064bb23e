"""One worker process of a training run: its record, which ends it early but saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from pytest_yourai.core.config import COMPILE_TIMEOUT_S
from pytest_yourai.core.errors import SafetyStopError, StopOverdueError
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard
from pytest_yourai.worker.protocol import RunEvent, Saved, StepSample, TrainedStep, TrainingEvent
from pytest_yourai.worker.run_record import TrainingRecord

LONGEST_WAIT_S = 60.0
"""For the step that runs when the end is asked for, and for what is saved after it."""

_STEPS_OF_PATIENCE = 3
"""The wait in steps, where those take longer."""


class ProgressListener(Protocol):
    """Shows and keeps the events of training."""

    def begin(self, first_step: int) -> None:
        """Training goes on after so many steps; later ones come again."""
        ...

    def add(self, event: TrainingEvent) -> None: ...

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        """The running step compiles since `elapsed_s`, of `limit_s` at most."""
        ...

    def print_line(self, text: str) -> None: ...


class WorkerRecord(TrainingRecord):
    """State of one worker process of a training run, passed on to `progress`.

    Its check asks for the end with `stop`, instead of breaking off; `stop_reason` is why.
    """

    def __init__(
        self,
        guard: Guard,
        first_step: int,
        signals: StopSignals,
        progress: ProgressListener,
        stop: Callable[[], None],
        compile_timeout_s: float = COMPILE_TIMEOUT_S,
    ) -> None:
        super().__init__(guard, first_step, compile_timeout_s)
        self.saved_step = first_step
        self.last: TrainedStep | None = None
        self.has_learned = first_step > 0
        """True once a loss was finite, and not 0: what is wrong since is not the weights."""
        self.progress = progress
        self.stop_reason: str | None = None
        self._longest_step_s = 0.0
        self._signals = signals
        self._stop = stop
        self._asked_at = 0.0
        signals.is_patient = False

    def started(self) -> None:
        super().started()
        self._signals.is_patient = True

    def check(self) -> None:
        """StopOverdueError where the worker does not end, CompileOverdueError as a RunRecord.

        While it loads, and there is nothing to save: SafetyStopError and KeyboardInterrupt.
        """
        if (elapsed_s := self.compiling_s) is not None:
            self.progress.compiling(elapsed_s, self.compile_timeout_s)
        if not self._signals.is_patient:
            if self._signals.is_asked:
                raise KeyboardInterrupt
            super().check()
            return
        try:
            super().check()
        except SafetyStopError as danger:
            self._ask(f"the guard stopped it: {danger}")
        if self._signals.is_asked:
            self._ask("it was interrupted")
        wait_s = max(LONGEST_WAIT_S, _STEPS_OF_PATIENCE * self._longest_step_s)
        if self.stop_reason is not None and time.monotonic() > self._asked_at + wait_s:
            raise StopOverdueError(
                f"{self.stop_reason}, and its worker did not end within {wait_s:.0f} s"
            )

    def _ask(self, reason: str) -> None:
        if self.stop_reason is None:
            self.stop_reason = reason
            self._asked_at = time.monotonic()
            self._stop()

    def add(self, event: RunEvent) -> None:
        super().add(event)
        if isinstance(event, StepSample):
            return
        match event:
            case TrainedStep():
                self.last = event
                self.has_learned |= math.isfinite(event.loss) and event.loss != 0
                self._longest_step_s = max(self._longest_step_s, event.step_time_s)
            case Saved():
                self.saved_step = event.step
        self.progress.add(event)

    def over_the_limit(self) -> str:
        """The reason for an end because MLX held more than it may."""
        held = self.last.peak_memory_bytes if self.last else 0
        return (
            f"MLX held {gigabytes(held)} in step {self.step}, over the budget of "
            f"{gigabytes(self.guard.budget_bytes)}: choose a smaller configuration, or add --force"
        )

    @property
    def saved_part(self) -> str:
        """A clause that names what is saved of a process that was cut off."""
        if not self.saved_step:
            return "nothing is saved yet"
        return f"what is saved is that of step {self.saved_step}"
