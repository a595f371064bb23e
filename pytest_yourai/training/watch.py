"""One worker process of a training run: its record, and the watch that ends it early but saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pytest_yourai.core.errors import SafetyStopError, StopOverdueError
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard, GuardedWatch
from pytest_yourai.worker.protocol import Saved, TrainedStep, TrainingEvent
from pytest_yourai.worker.supervised_run import TrainingRecord

LONGEST_WAIT_S = 60.0
"""For the step that runs when the end is asked for, and for what is saved after it."""

_STEPS_OF_PATIENCE = 3
"""The wait in steps, where those take longer."""


class TrainingWatch(GuardedWatch):
    """The watch of training, which asks for the end instead of breaking off.

    `reason` is why the end was asked for.
    """

    def __init__(
        self, record: WorkerRecord, signals: StopSignals, stop: Callable[[], None]
    ) -> None:
        super().__init__(record.guard)
        self.reason: str | None = None
        self._record = record
        self._signals = signals
        self._stop = stop
        self._asked_at = 0.0

    def check(self) -> None:
        """StopOverdueError where the worker does not end.

        While it loads, and there is nothing to save: SafetyStopError and KeyboardInterrupt.
        """
        if not self._signals.is_patient:
            if self._signals.is_asked:
                raise KeyboardInterrupt
            self._guard.check()
            return
        try:
            self._guard.check()
        except SafetyStopError as danger:
            self._ask(f"the guard stopped it: {danger}")
        if self._signals.is_asked:
            self._ask("it was interrupted")
        wait_s = max(LONGEST_WAIT_S, _STEPS_OF_PATIENCE * self._record.longest_step_s)
        if self.reason is not None and time.monotonic() > self._asked_at + wait_s:
            raise StopOverdueError(
                f"{self.reason}, and its worker did not end within {wait_s:.0f} s"
            )

    def _ask(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self._asked_at = time.monotonic()
            self._stop()


class ProgressListener(Protocol):
    """Shows and keeps the events of training."""

    def begin(self, first_step: int) -> None:
        """Training goes on after so many steps; later ones come again."""
        ...

    def add(self, event: TrainingEvent) -> None: ...

    def print_line(self, text: str) -> None: ...


class WorkerRecord(TrainingRecord):
    """State of one worker process of a training run, passed on to `progress`."""

    def __init__(
        self, guard: Guard, first_step: int, signals: StopSignals, progress: ProgressListener
    ) -> None:
        super().__init__(guard, first_step)
        self.saved_step = first_step
        self.last: TrainedStep | None = None
        self.longest_step_s = 0.0
        self.progress = progress
        self._signals = signals
        signals.is_patient = False

    def started(self) -> None:
        super().started()
        self._signals.is_patient = True

    def add(self, event: TrainingEvent) -> None:
        super().add(event)
        match event:
            case TrainedStep():
                self.last = event
                self.longest_step_s = max(self.longest_step_s, event.step_time_s)
            case Saved():
                self.saved_step = event.step
        self.progress.add(event)

    def over_the_limit(self, limit_bytes: int) -> str:
        """The reason for an end because MLX held more than it may."""
        held = self.last.peak_memory_bytes if self.last else 0
        return (
            f"MLX held {gigabytes(held)} in step {self.step}, over the memory limit of "
            f"{gigabytes(limit_bytes)}: choose a smaller configuration, or add --force"
        )

    @property
    def saved_part(self) -> str:
        """A clause that names what is saved of a process that was cut off."""
        if not self.saved_step:
            return "nothing is saved yet"
        return f"what is saved is that of step {self.saved_step}"
