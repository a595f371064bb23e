"""State of one run in a worker, which also watches it: for trials, soaks and training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import COMPILE_TIMEOUT_S
from pytest_yourai.core.errors import CompileOverdueError, WorkerReportError
from pytest_yourai.core.units import gigabytes, seconds
from pytest_yourai.machine.guard import Guard
from pytest_yourai.worker.protocol import (
    Compiling,
    RunEvent,
    SkippedBatch,
    StepFigures,
    TrainedStep,
)

_PAGING_SLOWDOWN = 3.0

_LEAST_SWAP_GROWTH_BYTES = 50_000_000
"""Less is other programs' business."""


@dataclass(frozen=True, slots=True)
class Output:
    """The end of the worker's output since it was last taken."""

    stdout: str = ""
    stderr: str = ""


class RunRecord:
    """State of one run in a worker, watched by `guard`.

    `where` is what it does now, in words; `heard_at` when it began to, `started_at` when it held
    the model. `load_time_s` is None where it held the model already. `compile_timeout_s` is for
    each step that compiles. `output` and `traceback` are the worker's once it was ended.
    """

    def __init__(self, guard: Guard, compile_timeout_s: float = COMPILE_TIMEOUT_S) -> None:
        self.guard = guard
        self.compile_timeout_s = compile_timeout_s
        self.load_time_s: float | None = None
        self._is_loading = False
        self._compiled_s = 0.0
        self._compiling_since: float | None = None
        self.where = "while starting the worker"
        self.heard_at = time.monotonic()
        self.started_at: float | None = None
        self.output = Output()
        self.traceback = ""

    def loading(self) -> None:
        """The worker begins to load the model."""
        self._is_loading = True
        self._advance("while loading the model")

    def started(self) -> None:
        """The worker holds the model."""
        if self._is_loading:
            self.load_time_s = time.monotonic() - self.heard_at
            self._is_loading = False
        self._advance("in step 1")
        self.started_at = self.heard_at

    def add(self, event: RunEvent) -> None:
        """Take in an event of a trial, or of training."""
        match event:
            case Compiling() if self._compiling_since is None:
                self._compiling_since = time.monotonic()
            case StepFigures() | SkippedBatch():
                self._compiled_s = self.compile_time_s
                self._compiling_since = None

    def check(self) -> None:
        """Check the machine and the worker; whatever this raises ends the run.

        CompileOverdueError where a step compiles for too long.
        """
        self.guard.check()
        if (self.compiling_s or 0.0) > self.compile_timeout_s:
            raise CompileOverdueError(f"compiling had no end after {self.compile_timeout_s:g} s")

    @property
    def compiling_s(self) -> float | None:
        """Seconds since the running step began to compile; None where it does not."""
        if self._compiling_since is None:
            return None
        return time.monotonic() - self._compiling_since

    @property
    def compile_time_s(self) -> float:
        """Seconds of all steps that compiled, the running one included."""
        return self._compiled_s + (self.compiling_s or 0.0)

    def _advance(self, where: str) -> None:
        self.where, self.heard_at = where, time.monotonic()

    @property
    def where_loss_is_computed(self) -> str:
        """The place in the run of a loss that is invalid."""
        return self.where

    @property
    def largest_mlx_bytes(self) -> int:
        """The most that MLX held, as far as it shows what is needed; else 0."""
        return 0

    def paces(self) -> list[float]:
        """Comparable step times in seconds, by which `paging` judges; empty: not judged."""
        return []

    def paging(self, *, with_running_step: bool = False) -> str | None:
        """Why it was paging; None where it was not, or where it cannot have caused it.

        A running step counts once it has taken longer than the fastest, unless it compiles.
        """
        if not self.guard.trace.can_have_caused_swapping:
            return None
        return self._slowed_by_swapping(with_running_step=with_running_step)

    @property
    def warnings(self) -> list[str]:
        """What the guard let pass, and that what other programs swapped made it slow."""
        trace, found = self.guard.trace, list(self.guard.warnings)
        if not trace.can_have_caused_swapping and (why := self._slowed_by_swapping()):
            held = gigabytes(trace.largest_held_bytes or 0)
            found.append(f"{why}: other programs swap (the worker held {held}): close some of them")
        return found

    def _slowed_by_swapping(self, *, with_running_step: bool = False) -> str | None:
        paces = self.paces()
        running_s = 0.0 if self.compiling_s is not None else time.monotonic() - self.heard_at
        if with_running_step and paces and running_s > min(paces):
            paces = [*paces, running_s]
        return paging(paces, self.guard.trace.swap_growth_bytes)


class TrainingRecord(RunRecord):
    """State of a worker that trains, after the step `first_step`."""

    def __init__(
        self, guard: Guard, first_step: int = 0, compile_timeout_s: float = COMPILE_TIMEOUT_S
    ) -> None:
        super().__init__(guard, compile_timeout_s)
        self.first_step = self.step = first_step
        self.peak_memory_bytes: int | None = None

    def started(self) -> None:
        super().started()
        self._advance(f"in step {self.first_step + 1}")

    def add(self, event: RunEvent) -> None:
        super().add(event)
        if not isinstance(event, TrainedStep | SkippedBatch):
            self._advance(self.where)
            return
        if event.step != self.step + 1:
            raise WorkerReportError(
                f"the worker reported step {event.step:,} of training after step {self.step:,}"
            )
        self.step = event.step
        if isinstance(event, TrainedStep):
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, event.peak_memory_bytes)
        self._advance(f"in step {event.step + 1}")

    @property
    def where_loss_is_computed(self) -> str:
        # The step is reported before its loss is checked.
        return f"in step {self.step}"


def without_updates(times_s: Sequence[float], ends_cycle: Sequence[bool]) -> list[float]:
    """The times of steps, without what an update of the optimizer adds to those that end a cycle.

    Their fastest then takes as long as that of the others. All the same where all end a cycle.
    """
    pairs = list(zip(times_s, ends_cycle, strict=True))
    others = [time_s for time_s, ends in pairs if not ends]
    updates = [time_s for time_s, ends in pairs if ends]
    added_s = max(0.0, min(updates) - min(others)) if others and updates else 0.0
    return [time_s - added_s if ends else time_s for time_s, ends in pairs]


def paging(paces_s: Sequence[float], swap_growth_bytes: int) -> str | None:
    """Why a trial was paging; None where it was not.

    `paces_s` are the times of its steps, made comparable where they have unequal numbers of
    tokens. After the fastest, two of them or the last took more than three times as long, while
    swap grew.
    """
    if swap_growth_bytes < _LEAST_SWAP_GROWTH_BYTES or not paces_s:
        return None
    fastest = min(paces_s)
    later = paces_s[paces_s.index(fastest) + 1 :]
    slow = [pace for pace in later if pace > _PAGING_SLOWDOWN * fastest]
    if not slow or (len(slow) == 1 and later[-1] not in slow):
        return None
    return (
        f"swap grew by {gigabytes(swap_growth_bytes)} and a step took {seconds(max(slow))}, "
        f"{max(slow) / fastest:.0f} times its fastest"
    )
