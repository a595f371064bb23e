"""The display of the running trial or soak on a terminal, below the lines of those that ended.

A drawing takes 0.5 ms (AMD EPYC); four a second take 0.2 % of a core.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType

from pytest_yourai.core.config import COMPILING_STEPS, LoraConfig, StepPlan
from pytest_yourai.core.cycles import TrialSteps
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import duration, gigabytes
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.report.compile_lines import CompileLog, compiling, elapsed_of
from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.report.screen import (
    DRAWN_EVERY_S,
    WIDE_COLUMNS,
    bar,
    memory_row,
    one_line,
    spinner,
    status_row,
)
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.sweep.stage_runner import StageRunner
from pytest_yourai.sweep.trial_progress import TrialProgress


@dataclass(frozen=True, slots=True)
class DisplayedTrial:
    """A running trial called `title`, after `done` of `total`.

    It takes `expected_s`, the trials after it `later_s`; None if that is unknown. It is ended
    after `timeout_s`, 0 for never.
    """

    title: str
    done: float
    total: float
    expected_s: float | None = None
    later_s: float | None = None
    timeout_s: float = 0.0


_LONG_S = 3.0
"""From then on a phase or step shows how long it takes already."""


class SweepDisplay:
    """Draws the running trial at most four times a second, once it has an area to draw on.

    Where it has a log instead, that gets a line now and then while a step compiles.
    """

    def __init__(self) -> None:
        self._area: LiveArea | None = None
        self._print_line: Callable[[str], None] = lambda _: None
        self._compile_log = CompileLog()
        self._shown = DisplayedTrial("", 0, 1)
        self._began_at = 0.0
        self._drawn_at = -DRAWN_EVERY_S
        self._limited_since = 0.0
        self._words, self._words_since = "", 0.0

    def draw_on(self, area: LiveArea) -> None:
        """Draw on `area` from now on."""
        self._area = area

    def log_to(self, print_line: Callable[[str], None]) -> None:
        """Print with `print_line` from now on, as there is nothing to draw on."""
        self._print_line = print_line

    @property
    def is_on(self) -> bool:
        """True if there is an area to draw on."""
        return self._area is not None

    @contextlib.contextmanager
    def showing(self, shown: DisplayedTrial) -> Iterator[None]:
        """Show `shown` while it runs, and remove it however it ends."""
        self._shown, self._began_at = shown, time.monotonic()
        self._limited_since, self._words = self._began_at, ""
        try:
            yield
        finally:
            if self._area is not None:
                self._area.erase()

    def on_progress(self, progress: TrialProgress) -> None:
        """Show the progress, unless the last drawing is too recent."""
        if self._area is None:
            self._log(progress)
            return
        now = time.monotonic()
        if now < self._drawn_at + DRAWN_EVERY_S:
            return
        self._drawn_at = now
        self._area.draw(self._picture(progress, self._area.columns))

    def _log(self, progress: TrialProgress) -> None:
        if progress.compiling_s is None:
            self._compile_log = CompileLog()
        elif line := self._compile_log.line(progress.compiling_s, progress.compile_timeout_s):
            self._print_line(f"{self._shown.title}: {line}")

    def _picture(self, progress: TrialProgress, columns: int) -> RenderableType:
        """Two lines that fit into 40 columns, and a third if MLX's memory is known."""
        shown, left = self._shown, self._time_left(progress)
        phase, lines = self._phase(progress), list[RenderableType]()
        if columns >= WIDE_COLUMNS:
            done = shown.done
            if progress.left_s is not None:
                done = max(0.0, shown.total - progress.left_s)
            middle = bar(shown.total, done)
            lines += [status_row(shown.title, middle, left), one_line(phase)]
        else:
            lines += [one_line(shown.title), status_row(phase, "", left)]
        if progress.active_bytes is not None and progress.peak_bytes is not None:
            active, peak = gigabytes(progress.active_bytes), gigabytes(progress.peak_bytes)
            held = f"active {active}, peak {peak}"
            lines.append(
                memory_row(held, progress.peak_bytes, progress.memory_limit_bytes, columns)
            )
        return Group(*lines)

    def _phase(self, progress: TrialProgress) -> str:
        """What it does; if that takes long, since when, and how long it may take."""
        now, words = time.monotonic(), _words(progress)
        if progress.compiling_s is not None:
            # The limit of the trial stands still meanwhile, and begins anew.
            self._limited_since, self._words = now, ""
            said = compiling(progress.compiling_s, progress.compile_timeout_s)
            return f"{spinner(now)} {said}"
        if words != self._words:
            self._words, self._words_since = words, now
        if now - self._words_since < _LONG_S:
            return words
        passed = elapsed_of(now - self._limited_since, self._shown.timeout_s)
        return f"{spinner(now)} {words}, {passed}"

    def _time_left(self, progress: TrialProgress) -> str:
        """The remaining time; empty if it is unknown, or over."""
        left_s = progress.left_s
        if self._shown.expected_s is not None:
            passed_s = time.monotonic() - self._began_at
            rest_s = max(0.0, self._shown.expected_s - passed_s)
            left_s = rest_s + (self._shown.later_s or 0.0)
        return f"{duration(left_s)} left" if left_s else ""


def _words(progress: TrialProgress) -> str:
    if progress.step is None:
        return progress.phase
    of = f" of {progress.steps}" if progress.steps is not None else ""
    return f"{progress.phase}, step {progress.step:,}{of}"


class TrialDisplay:
    """Displays the trials of one run; `selected` has the ids of its items by stage."""

    def __init__(
        self, display: SweepDisplay, setup: RunPlan, selected: Mapping[Stage, Collection[str]]
    ) -> None:
        self._display = display
        self._setup = setup
        self._selected = selected
        self._times: defaultdict[Stage, TrialTimes] = defaultdict(TrialTimes)

    @contextlib.contextmanager
    def trial(self, run: StageRunner, stage: Stage, item_id: str) -> Iterator[None]:
        """Display a trial while it is measured or skipped."""
        config, sweep = run.config_of(stage, item_id), run.sweep_of(stage)
        if not self._display.is_on:
            with self._display.showing(DisplayedTrial(stage.naming.name(config), 0, 1)):
                yield
            return
        began_at = time.monotonic()
        with self._display.showing(self._shown(stage, sweep, config)):
            yield
        if sweep is not None and config in sweep.results:
            self._times[stage].add(sweep.results[config], time.monotonic() - began_at)

    @contextlib.contextmanager
    def soak(self, stage: Stage, config: LoraConfig) -> Iterator[None]:
        """Display the soak of a configuration while it runs."""
        of_model = "" if self._setup.has_one_profile else f" of {stage.name}"
        title = f"Soak{of_model}: {stage.naming.name(config)}"
        with self._display.showing(DisplayedTrial(title, 0, self._setup.options.soak_s or 1.0)):
            yield

    def _shown(self, stage: Stage, sweep: Sweep | None, config: LoraConfig) -> DisplayedTrial:
        name, timeout_s = stage.naming.name(config), self._setup.options.timeout_s
        if stage.is_check:
            names = list(dict.fromkeys(each.name for each in self._selected))
            done, total = names.index(stage.name), len(names)
            title = f"[{done + 1}/{total}] {stage.name}: {name}"
            return DisplayedTrial(title, done, total, timeout_s=timeout_s)
        done, total = len(sweep.results) if sweep else 0, len(self._selected[stage])
        of_model = "" if self._setup.has_one_profile else f"{stage.name} "
        title = f"{of_model}[{done + 1}/{total}] {name}"
        if sweep is None or sweep.search.is_on:
            # A search has not chosen its next trials yet.
            return DisplayedTrial(title, done, total, timeout_s=timeout_s)
        times = self._times[stage]
        others = {stage.configs_by_id[item_id] for item_id in self._selected[stage]} - {config}
        later_s = times.expected_s(each for each in others if each and sweep.expects_trial(each))
        expected_s = times.expected_s([config])
        return DisplayedTrial(title, done, total, expected_s, later_s, timeout_s)


_TRIALS = 5
"""The number of latest trials that count: they are most like the next one."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A trial: seconds per token of its rows, its steps over the usual, and the rest of its time.

    The rest went into loading the model if necessary, compiling, and clearing up.
    """

    token_s: float
    share: float
    rest_s: float


class TrialTimes:
    """Times of the latest trials of one sweep."""

    def __init__(self) -> None:
        self._last: deque[_Timed] = deque(maxlen=_TRIALS)

    def add(self, result: TrialResult, time_s: float) -> None:
        """Take in a trial that took `time_s`, if it has measured steps."""
        step_s = result.step_time_s
        if not result.success or result.kept or not step_s:
            return
        compiling = COMPILING_STEPS * result.config.grad_accumulation_steps
        steps = len(result.warmup_step_times_s) - compiling + len(result.step_times_s)
        rest_s = max(0.0, time_s - steps * step_s)
        share = steps / _usual_steps(result.config)
        self._last.append(_Timed(step_s / _step_tokens(result.config), share, rest_s))

    def expected_s(self, configs: Iterable[LoraConfig]) -> float | None:
        """Seconds that trials of `configs` take in all; None before the first measured trial."""
        if not self._last:
            return None
        token_s = statistics.median(each.token_s for each in self._last)
        share = statistics.median(each.share for each in self._last)
        rest_s = statistics.median_low(each.rest_s for each in self._last)
        return sum(
            rest_s + share * _usual_steps(config) * token_s * _step_tokens(config)
            for config in configs
        )


def _usual_steps(config: LoraConfig) -> int:
    """The measured steps of a trial, unless others are asked for, and a cycle that settles."""
    steps = TrialSteps.of(StepPlan(), config)
    return steps.measured_steps + steps.accumulation


def _step_tokens(config: LoraConfig) -> int:
    """Tokens of a step with rows of full length."""
    return config.batch_size * config.max_seq_length
