"""SIGINT, SIGTERM and SIGHUP (Ctrl-C, a cancelled job, a closed terminal) end a run alike."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

_IMPATIENCE_S = 2.0
"""A second Ctrl-C within this time repeats the first one: results are being written by then."""


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_DEFERRED = (*INTERRUPTS, signal.SIGALRM)
"""Whatever may raise between two lines; pytest-timeout uses the last."""


@contextlib.contextmanager
def deferred(numbers: tuple[signal.Signals, ...] = _DEFERRED) -> Iterator[None]:
    """Hold back signals that interrupt until the block has ended: it is done as a whole.

    Elsewhere than in the main thread nothing interrupts. Handlers are exchanged, since a mask holds
    for one thread: another one would take the signal, and Python would still handle it in this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier: dict[int, Any] = {}
    pending: list[int] = []
    is_held = True

    def note(number: int, _: FrameType | None) -> None:
        if is_held:
            pending.append(number)
            return
        # It came while the handlers were set again, which an earlier one may have broken off.
        signal.signal(number, earlier[number])
        signal.raise_signal(number)

    try:
        for each in numbers:
            handler = signal.getsignal(each)
            if handler not in (None, signal.SIG_IGN):
                earlier[each] = handler
                signal.signal(each, note)
        yield
    finally:
        is_held = False
        for number, handler in earlier.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(pending):
            signal.raise_signal(number)


class Interrupts:
    """While installed, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once.

    Results so far are printed and written then. Handlers that others have set stay.
    """

    def __init__(self) -> None:
        self._earlier: dict[signal.Signals, Any] = {}
        self._first_at: float | None = None
        self._is_ending = False
        self._is_impatient = False

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

    def end(self) -> None:
        """The run is over, and is written and printed: from now on nothing is to be raised."""
        self._is_ending = True

    def remove(self) -> None:
        """Set the earlier handlers again."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()

    def _interrupt(self, number: int, *_: Any) -> None:
        now = time.monotonic()
        if self._first_at is not None and now < self._first_at + _IMPATIENCE_S:
            return
        self._first_at = now
        if not self._is_ending:
            raise KeyboardInterrupt
        if self._is_impatient:
            # Whatever holds the end up, it is not the results.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_impatient = True


class StopSignals(Interrupts):
    """While entered, SIGINT, SIGTERM and SIGHUP ask to stop; a second one ends at once.

    While `is_patient`, the first one only sets `is_asked`. Before that, and the second time, they
    raise KeyboardInterrupt, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_patient = False
        self.is_asked = False

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
