"""Ends from outside: Ctrl-C, a cancelled job, a closed terminal, all by KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

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
