"""Progress of training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Collection
from typing import IO, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pytest_yourai.core.config import COMPILING_STEPS
from pytest_yourai.core.sanitize import screen_line, screen_text
from pytest_yourai.core.units import duration, gigabytes, seconds
from pytest_yourai.machine.leak import Growth
from pytest_yourai.report.compile_lines import CompileLog, compiling
from pytest_yourai.report.safe_stream import safe_stream
from pytest_yourai.report.screen import (
    DRAWN_EVERY_S,
    bar,
    is_terminal,
    memory_row,
    one_line,
    spinner,
    status_row,
)
from pytest_yourai.training.memory_trend import MemoryTrend
from pytest_yourai.worker.protocol import Saved, SkippedBatch, TrainedStep, Validated

_PACE_STEPS = 100

_LOSS_MEMORY = 0.9
"""Share of the steps before in the smoothed loss."""

_LEAST_GROWTH_BYTES = 100_000
"""Less growth a step is not shown."""


class TrainingDisplay:
    """Shows training from `first_step`, 1 in a new run, to `total_steps`; a context manager.

    On a terminal a bar, drawn at most four times a second, and lines above it; elsewhere lines
    alone, without control characters. A stream that fails is left alone. Steps are reported every
    `report_interval` steps and at the last one. `memory_limit_bytes` None leaves out the distance
    of the peak to it. The first two cycles of `accumulation` steps compile.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        memory_limit_bytes: int | None,
        report_interval: int,
        stream: IO[str],
        accumulation: int = 1,
    ) -> None:
        self._compiling_steps = COMPILING_STEPS * accumulation
        self._total_steps = total_steps
        self._memory_limit_bytes = memory_limit_bytes
        self._report_interval = report_interval
        self._stream = safe_stream(stream)
        self._live = _live(self._stream) if is_terminal(self._stream) else None
        self._drawn_at = 0.0
        self._steps_done = first_step - 1
        self._count = 0
        self._latest: deque[TrainedStep] = deque(maxlen=_PACE_STEPS)
        self._times_s: deque[float] = deque(maxlen=_PACE_STEPS)
        """Times of the latest steps, with the pauses before them."""
        self._pause_s = 0.0
        self._smoothed_loss: float | None = None
        self._unreported: list[TrainedStep] = []
        self._compile_log = CompileLog()
        self._compiling = ""
        """What is shown while a step compiles."""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._draw()
            self._live.stop()

    def step(self, step: TrainedStep, trend: MemoryTrend) -> None:
        """Show a step that ended; `trend` includes it."""
        self._steps_done = step.step
        self._compiling = ""
        self._compile_log = CompileLog()
        self._count += 1
        if self._count == self._compiling_steps + 1:
            self._latest.clear()
            self._times_s.clear()
        self._latest.append(step)
        self._times_s.append(step.step_time_s + self._pause_s)
        self._pause_s = 0.0
        self._unreported.append(step)
        before = step.loss if self._smoothed_loss is None else self._smoothed_loss
        self._smoothed_loss = _LOSS_MEMORY * before + (1 - _LOSS_MEMORY) * step.loss
        if step.step % self._report_interval == 0 or step.step == self._total_steps:
            self._line(self._report(trend.growth))
            self._unreported.clear()
        if self._live is not None and time.monotonic() - self._drawn_at >= DRAWN_EVERY_S:
            self._draw()

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        """Show for how long the running step compiles; in a log now and then."""
        if self._live is None:
            if line := self._compile_log.line(elapsed_s, limit_s):
                self._line(line)
        elif time.monotonic() - self._drawn_at >= DRAWN_EVERY_S:
            self._compiling = f"{spinner(elapsed_s)} {compiling(elapsed_s, limit_s)}"
            self._draw()

    def validated(self, validated: Validated) -> None:
        self._pause_s += validated.time_s
        self._line(
            f"validated after step {validated.step}: loss {validated.loss:.3f}"
            f"{_standing(validated)} ({seconds(validated.time_s)})"
        )

    def skipped(self, skipped: SkippedBatch, most: int) -> None:
        """Show a step whose batch was skipped, as one of at most so many."""
        self._steps_done = skipped.step
        self._line(
            f"skipped the batch of step {skipped.step}: its loss was {skipped.loss} "
            f"({skipped.count} of at most {most} to skip)"
        )

    def saved(self, saved: Saved) -> None:
        """Shown on a terminal alone, because it would fill a log."""
        if self._live is not None:
            self._line(f"saved after step {saved.step}")

    def print_line(self, text: str) -> None:
        """Print any other text, without secrets, and never as markup."""
        for line in screen_text(text).splitlines():
            self._line(line)

    def _line(self, line: str) -> None:
        shown = screen_line(line)
        if self._live is None:
            self._stream.write(f"{shown}\n")
            self._stream.flush()
        else:
            self._draw()
            self._live.console.print(Text(shown), soft_wrap=True)

    def _report(self, growth: Growth) -> str:
        """One line about the steps since the last report."""
        steps, last = self._unreported, self._unreported[-1]
        parts = [
            f"loss {statistics.fmean(step.loss for step in steps):.3f}",
            _speed(steps),
            f"active {gigabytes(last.active_memory_bytes)}{_growing(growth.active_bytes_per_step)}",
            f"peak {gigabytes(max(step.peak_memory_bytes for step in steps))}",
            f"cache {gigabytes(last.cache_memory_bytes)}",
        ]
        if last.footprint_bytes is not None:
            grows = _growing(growth.footprint_bytes_per_step)
            parts.append(f"footprint {gigabytes(last.footprint_bytes)}{grows}")
        if left := self._time_left:
            parts.append(left)
        return f"step {self._steps_done}/{self._total_steps}: {', '.join(parts)}"

    @property
    def _time_left(self) -> str:
        """Empty if it is not known, or none is left."""
        steps_left = self._total_steps - self._steps_done
        if not steps_left or not self._times_s:
            return ""
        return f"{duration(steps_left * statistics.fmean(self._times_s))} left"

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._drawn_at = time.monotonic()

    def _picture(self) -> RenderableType:
        """Three lines that fit into 40 columns, and one more while a step compiles."""
        top: RenderableType = status_row(
            f"step {self._steps_done}/{self._total_steps}",
            bar(self._total_steps, self._steps_done),
            self._time_left,
        )
        if self._compiling:
            top = Group(top, one_line(self._compiling))
        if self._smoothed_loss is None:
            return top
        speed = one_line(f"loss {self._smoothed_loss:.3f}, {_speed(self._latest)}")
        return Group(top, speed, self._memory_line())

    def _memory_line(self) -> RenderableType:
        peak_bytes = max(step.peak_memory_bytes for step in self._latest)
        active_bytes = self._latest[-1].active_memory_bytes
        held = f"active {gigabytes(active_bytes)}, peak {gigabytes(peak_bytes)}"
        if not self._memory_limit_bytes:
            return one_line(held)
        columns = self._live.console.width if self._live is not None else 0
        return memory_row(held, peak_bytes, self._memory_limit_bytes, columns)


def _live(stream: IO[str]) -> Live:
    """A live display that draws on request, and leaves the process's own streams as they are."""
    console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
    return Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


def _speed(steps: Collection[TrainedStep]) -> str:
    step_time_s = statistics.fmean(step.step_time_s for step in steps)
    tokens = statistics.fmean(step.tokens for step in steps)
    tokens_per_second = tokens / step_time_s if step_time_s > 0 else 0.0
    return f"{tokens_per_second:,.0f} tokens/s, {seconds(step_time_s)}/step"


def _standing(validated: Validated) -> str:
    if validated.best_step is None or validated.best_loss is None:
        return ""
    if validated.best_step == validated.step:
        return ", the lowest so far"
    return f", the lowest is {validated.best_loss:.3f} after step {validated.best_step}"


def _growing(bytes_per_step: float | None) -> str:
    if bytes_per_step is None or abs(bytes_per_step) < _LEAST_GROWTH_BYTES:
        return ""
    sign = "+" if bytes_per_step > 0 else "-"
    return f" ({sign}{gigabytes(abs(bytes_per_step))} a step)"
