"""What a terminal shows of the trial or soak that runs, below the lines of those that ended.

A drawing took 0.5 ms (AMD EPYC), so that four a second take 0.2 % of a core.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar

from pytest_yourai.report.live import DRAWN_EVERY_S, WIDE_COLUMNS, memory_row, one_line, row
from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.trial_progress import Progress
from pytest_yourai.units import duration, gigabytes


@dataclass(frozen=True, slots=True)
class Shown:
    """What runs: `title` names it, `done` of `total` are over.

    It takes `expected_s`, and what follows `later_s`; None where nobody knows.
    """

    title: str
    done: float
    total: float
    expected_s: float | None = None
    later_s: float | None = None


class SweepDisplay:
    """Draws at most four times a second; `area` None is for where nobody looks."""

    def __init__(self, area: LiveArea | None) -> None:
        self._area = area
        self._shown = Shown("", 0, 1)
        self._began_at = 0.0
        self._drawn_at = -DRAWN_EVERY_S

    @property
    def is_on(self) -> bool:
        return self._area is not None

    @contextlib.contextmanager
    def of(self, shown: Shown) -> Iterator[None]:
        """While `shown` runs; nothing is left of it, however it ends."""
        self._shown, self._began_at = shown, time.monotonic()
        try:
            yield
        finally:
            if self._area is not None:
                self._area.erase()

    def goes_on(self, progress: Progress) -> None:
        """Show how far it is."""
        now = time.monotonic()
        if self._area is None or now < self._drawn_at + DRAWN_EVERY_S:
            return
        self._drawn_at = now
        self._area.draw(self._picture(progress, self._area.columns))

    def _picture(self, progress: Progress, columns: int) -> RenderableType:
        """Two lines that fit into 40 columns, and a third where it is known what MLX holds."""
        shown, left = self._shown, self._time_left(progress)
        phase, lines = _phase(progress), list[RenderableType]()
        if columns >= WIDE_COLUMNS:
            done = shown.done
            if progress.left_s is not None:
                done = max(0.0, shown.total - progress.left_s)
            bar = ProgressBar(total=shown.total, completed=done)
            lines += [row(shown.title, bar, left), one_line(phase)]
        else:
            lines += [one_line(shown.title), row(phase, "", left)]
        if progress.active_bytes is not None and progress.peak_bytes is not None:
            active, peak = gigabytes(progress.active_bytes), gigabytes(progress.peak_bytes)
            held = f"active {active}, peak {peak}"
            lines.append(
                memory_row(held, progress.peak_bytes, progress.memory_limit_bytes, columns)
            )
        return Group(*lines)

    def _time_left(self, progress: Progress) -> str:
        """Nothing where it is not known, or took longer than it was thought to."""
        left_s = progress.left_s
        if self._shown.expected_s is not None:
            passed_s = time.monotonic() - self._began_at
            rest_s = max(0.0, self._shown.expected_s - passed_s)
            left_s = rest_s + (self._shown.later_s or 0.0)
        return f"{duration(left_s)} left" if left_s else ""


def _phase(progress: Progress) -> str:
    if progress.step is None:
        return progress.phase
    of = f" of {progress.steps}" if progress.steps is not None else ""
    return f"{progress.phase}, step {progress.step:,}{of}"
