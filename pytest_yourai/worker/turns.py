"""Two processes that take steps in turn, so that each is timed beside the other on a busy machine.

mlx-lm times no step while it reports the one before: there they wait for each other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pytest_yourai.worker.protocol import StepSample, TrialEvent, TrialRequest

Side = Literal["stock", "ours"]

_PIPES = ("to_stock", "to_ours")


def make_pipes(folder: Path) -> None:
    """Make those of two processes in `folder`, anew."""
    for name in _PIPES:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)


class Turns:
    """One side's end: `meet` waits for the other process, `give` for its step.

    Ours has the first turn. Where the other process has ended, nothing waits.
    """

    def __init__(self, folder: Path, side: Side) -> None:
        self._folder = folder
        self._mine, self._theirs = f"to_{side}", next(each for each in _PIPES if side not in each)
        self._ends: dict[str, int] = {}

    @property
    def have_met(self) -> bool:
        return bool(self._ends)

    def meet(self) -> None:
        for name in _PIPES:
            flags = os.O_RDONLY if name == self._mine else os.O_WRONLY
            self._ends[name] = os.open(self._folder / name, flags)
        if self._mine == "to_stock":
            os.read(self._ends[self._mine], 1)

    def give(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ends[self._theirs], b".")
        os.read(self._ends[self._mine], 1)

    def end(self) -> None:
        for end in self._ends.values():
            os.close(end)
        self._ends.clear()


@contextlib.contextmanager
def in_turns(
    request: TrialRequest, report: Callable[[TrialEvent], None]
) -> Iterator[Callable[[TrialEvent], None]]:
    """`report`, which waits for a step of the other process after each measured one.

    The turns begin after the first measured cycle. Without a folder in `request` nothing waits.
    """
    if request.turns_folder is None:
        yield report
        return
    turns = Turns(Path(request.turns_folder), "ours")
    measured = 0

    def report_in_turns(event: TrialEvent) -> None:
        nonlocal measured
        report(event)
        if isinstance(event, StepSample) and event.phase == "measure":
            measured += 1
            if turns.have_met:
                turns.give()
            elif measured == request.config.grad_accumulation_steps:
                turns.meet()

    try:
        yield report_in_turns
    finally:
        turns.end()
