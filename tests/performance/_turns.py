"""Two processes that take steps in turn, so that each is timed beside the other on a busy machine.

mlx-lm times no step while it reports the one before: there they wait for each other.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FOLDER = "TURNS_FOLDER"
"""The environment variable that names the folder of the pipes."""

_PIPES = ("to_stock", "to_ours")


def make_pipes(folder: Path) -> None:
    for name in _PIPES:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)


class Turns:
    """One side's end: `meet` waits for the other process, `give` for its step.

    Ours has the first turn. Where the other process has ended, nothing waits.
    """

    def __init__(self, side: str) -> None:
        self._folder = Path(os.environ[FOLDER])
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
