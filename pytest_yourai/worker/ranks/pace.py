"""How fast a group goes, by which it is known whether it has stalled."""

from __future__ import annotations

from pytest_yourai.core.units import seconds
from pytest_yourai.worker.messages import Message
from pytest_yourai.worker.protocol import Saving, StepFigures, Validating

_LEAST_STALL_S = 20.0

_STALL_FACTOR = 10.0
"""A step that takes so many times the slowest before it, and so many seconds, has stalled."""


class Pace:
    """The slowest step of a run so far. While one rank saves, the others wait for it."""

    def __init__(self) -> None:
        self._slowest_s = 0.0
        self._is_saving = False

    def note(self, message: Message) -> None:
        """Take in what all ranks have said."""
        match message:
            case StepFigures():
                self._slowest_s = max(self._slowest_s, message.step_time_s)
                self._is_saving = False
            case Validating():
                self._is_saving = False
            case Saving():
                self._is_saving = True

    def stall(self, taken_s: float) -> str | None:
        """Why a step that has taken `taken_s` so far has stalled; None where it has not."""
        limit_s = max(_LEAST_STALL_S, _STALL_FACTOR * self._slowest_s)
        if not self._slowest_s or self._is_saving or taken_s <= limit_s:
            return None
        return (
            f"all ranks live, and no step ended on them for {seconds(taken_s)}, where the "
            f"slowest before took {seconds(self._slowest_s)}"
        )
