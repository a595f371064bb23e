"""Ends from outside: Ctrl-C, a cancelled job, a closed terminal, all by KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Self

_IMPATIENCE_S = 2.0
"""Within this time a second Ctrl-C means the first one: the end has begun, and is being written."""


class Interrupts:
    """While installed, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once.

    What is known is then printed and written. Handlers that somebody else has set stay.
    """

    def __init__(self) -> None:
        self._earlier: dict[signal.Signals, Any] = {}
        self._first_at: float | None = None

    def install(self) -> None:
        """Does nothing outside the main thread, where Python takes no signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, usual in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGHUP, signal.SIG_DFL),
        ):
            if signal.getsignal(number) == usual:
                self._earlier[number] = signal.signal(number, self._interrupt)

    def remove(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()

    def _interrupt(self, *_: Any) -> None:
        now = time.monotonic()
        if self._first_at is not None and now < self._first_at + _IMPATIENCE_S:
            return
        self._first_at = now
        raise KeyboardInterrupt


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
