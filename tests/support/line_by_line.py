"""Signals at chosen lines: an interruption comes between any two."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any]


class SignalAtLine:
    """Raises a signal once the `number`th line is about to run of code in files ending in `names`.

    With `after` it counts from the first call of that function. `is_raised` is False as long as it
    has not come to that line.
    """

    def __init__(
        self,
        number: int,
        names: tuple[str, ...],
        sent: signal.Signals,
        after: str | None = None,
    ) -> None:
        self._left = number
        self._names = names
        self._sent = sent
        self._after = after
        self.is_raised = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> TraceFunction | None:
        if not frame.f_code.co_filename.endswith(self._names):
            return None
        if frame.f_code.co_name == self._after:
            self._after = None
        if event == "line" and self._after is None and not self.is_raised:
            self._left -= 1
            if self._left < 0:
                self.is_raised = True
                # The handler runs, and raises, before this returns.
                signal.raise_signal(self._sent)
        return self

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """Count lines in the block; whatever traced before, such as coverage, goes on after it."""
        earlier = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(earlier)
