"""Ends training early with everything saved: for the user, and for the machine's sake."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pytest_yourai.core.errors import SafetyStopError, YouraiError
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import Guard, GuardedWatch
from pytest_yourai.worker.protocol import Saved, TrainedStep, TrainingEvent

LONGEST_WAIT_S = 60.0
"""For the step that runs when the end is asked for, and for what is saved after it."""

_STEPS_OF_PATIENCE = 3
"""Where steps take longer than that."""


class StopOverdueError(YouraiError):
    """The worker was asked to end training, and went on."""


class TrainingWatch(GuardedWatch):
    """The guard of a trial, for training: it asks for the end instead of breaking off.

    `reason` is why the end was asked for, in words.
    """

    def __init__(
        self,
        guard: Guard,
        signals: StopSignals,
        stop: Callable[[], None],
        longest_step_s: Callable[[], float],
    ) -> None:
        super().__init__(guard)
        self.reason: str | None = None
        self._signals = signals
        self._stop = stop
        self._longest_step_s = longest_step_s
        self._asked_at = 0.0

    def look(self) -> None:
        """StopOverdueError where the worker does not end.

        While it loads, and there is nothing to save: SafetyStopError and KeyboardInterrupt.
        """
        if not self._signals.is_patient:
            if self._signals.is_asked:
                raise KeyboardInterrupt
            self._guard.look()
            return
        try:
            self._guard.look()
        except SafetyStopError as danger:
            self._ask(f"the guard stopped it: {danger}")
        if self._signals.is_asked:
            self._ask("it was interrupted")
        wait_s = max(LONGEST_WAIT_S, _STEPS_OF_PATIENCE * self._longest_step_s())
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
    """Shows and keeps what training says."""

    def begin(self, first_step: int) -> None:
        """Training goes on after so many steps: later ones are said again."""
        ...

    def add(self, event: TrainingEvent) -> None: ...

    def say(self, text: str) -> None: ...


class WorkerRecord:
    """What one worker process did: hears it, and passes it on."""

    def __init__(self, first_step: int, signals: StopSignals, progress: ProgressListener) -> None:
        self.first_step = self.step = self.saved_step = first_step
        self.peak_memory_bytes: int | None = None
        self.last: TrainedStep | None = None
        self.longest_step_s = 0.0
        self._signals = signals
        self.progress = progress
        self.where = "while starting the worker"
        signals.is_patient = False

    def loading(self) -> None:
        self.where = "while loading the model"

    def started(self) -> None:
        self.where = f"in step {self.first_step + 1}"
        self._signals.is_patient = True

    def add(self, event: TrainingEvent) -> None:
        match event:
            case TrainedStep():
                self.step, self.last = event.step, event
                self.longest_step_s = max(self.longest_step_s, event.step_time_s)
                self.where = f"in step {event.step + 1}"
                self.peak_memory_bytes = max(self.peak_memory_bytes or 0, event.peak_memory_bytes)
            case Saved():
                self.saved_step = event.step
        self.progress.add(event)


def over_the_limit(turn: WorkerRecord, limit_bytes: int) -> str:
    """Why a turn ended in which MLX held more than it may, in words."""
    held = turn.last.peak_memory_bytes if turn.last else 0
    return (
        f"MLX held {gigabytes(held)} in step {turn.step}, over the memory limit of "
        f"{gigabytes(limit_bytes)}: choose a smaller configuration, or add --force"
    )


def since(turn: WorkerRecord) -> str:
    """What is left of a turn that was cut off, in words."""
    if not turn.saved_step:
        return "nothing is saved yet"
    return f"what is saved is that of step {turn.saved_step}"
