"""Ends training early with everything saved: for the user, and for the machine's sake."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any, Self

from pytest_yourai.errors import SafetyStopError, YouraiError
from pytest_yourai.memory.guard import Guard, Guarded

LONGEST_WAIT_S = 60.0
"""For the step that runs when the end is asked for, and for what is saved after it."""

_STEPS_OF_PATIENCE = 3
"""Where steps take longer than that."""


class StopOverdueError(YouraiError):
    """The worker was asked to end training, and went on."""


class StopSignals:
    """While installed, SIGINT, SIGTERM and SIGHUP ask for the end; a second one ends at once.

    The end is asked for while `is_patient`; before, and the second time, KeyboardInterrupt, once:
    the end has begun then.
    """

    def __init__(self) -> None:
        self.is_patient = False
        self.is_asked = False
        self._is_ending = False
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._earlier[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _ask(self, *_: Any) -> None:
        if self._is_ending:
            return
        if not self.is_patient or self.is_asked:
            self.is_asked = self._is_ending = True
            raise KeyboardInterrupt
        self.is_asked = True


class TrainingWatch(Guarded):
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
