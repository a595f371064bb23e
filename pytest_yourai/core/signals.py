"""SIGINT, SIGTERM and SIGHUP (Ctrl-C, a cancelled job, a closed terminal) end a run alike."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Self

_IMPATIENCE_S = 2.0
"""A second Ctrl-C within this time repeats the first one: results are being written by then."""


class Interrupts:
    """While installed, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once.

    Results so far are printed and written then. Handlers that others have set stay.
    """

    def __init__(self) -> None:
        self._earlier: dict[signal.Signals, Any] = {}
        self._first_at: float | None = None

    def install(self) -> None:
        """Set the handlers; does nothing outside the main thread, where Python takes no signals."""
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
        """Set the earlier handlers again."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()

    def _interrupt(self, *_: Any) -> None:
        now = time.monotonic()
        if self._first_at is not None and now < self._first_at + _IMPATIENCE_S:
            return
        self._first_at = now
        raise KeyboardInterrupt


class StopSignals(Interrupts):
    """While entered, SIGINT, SIGTERM and SIGHUP ask to stop; a second one ends at once.

    While `is_patient`, the first one only sets `is_asked`. Before that, and the second time, they
    raise KeyboardInterrupt, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_patient = False
        self.is_asked = False
        self._is_ending = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._earlier[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _interrupt(self, *_: Any) -> None:
        if self._is_ending:
            return
        if not self.is_patient or self.is_asked:
            self.is_asked = self._is_ending = True
            raise KeyboardInterrupt
        self.is_asked = True
