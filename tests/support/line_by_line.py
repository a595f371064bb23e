"""Signals at chosen lines: an interruption comes between any two."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

TraceFunction = Callable[[FrameType, str, Any], Any]


class SignalAtLine:
    """Raises a signal once the `number`th line is about to run of code in files ending in `names`.

    With `after` it counts from the first call of that function. `is_raised` is False as long as it
    has not come to that line. Lines are counted in a `with` block of it.
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

    def __enter__(self) -> Self:
        # Not by contextlib, which may be among the traced files: its exit could be interrupted.
        self._earlier = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever traced before, such as coverage, goes on."""
        sys.settrace(self._earlier)
