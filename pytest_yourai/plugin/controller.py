"""Controller side of the plugin: collects trials from reports, prints them, writes the files.

Works on `report.user_properties`, with and without xdist. In the process where items run it also
gets each result at once, since an interruption may keep the report from coming.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import InputError
from pytest_yourai.core.outcomes import LETTERS, Outcome
from pytest_yourai.core.signals import Interrupts, deferred
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.machine import environment
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.report.commands import next_steps
from pytest_yourai.report.comparison_lines import baseline_lines
from pytest_yourai.report.console import Console
from pytest_yourai.report.output_files import SessionOutput, check_output_files, write_session
from pytest_yourai.store.journal import Journal, TaggedLog
from pytest_yourai.sweep.child_process import PLUGIN as TETHER
from pytest_yourai.sweep.reports import PROPERTY, SOAK_PROPERTY, ItemCounts, SoakReport, TrialReport
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.stage_runner import StageRunner

_LEAST_VERBOSITY = -1
"""-q lists ids, -qq counts them."""


class ControllerHooks:
    """Registered in the process that the user started, if a run is asked for.

    `has_items_here` is False if a worker of xdist runs the items. With `owns_session` only packaged
    tests run, so that the console is ours.
    """

    def __init__(
        self, config: pytest.Config, plan: RunPlan, *, has_items_here: bool, owns_session: bool
    ) -> None:
        self._config = config
        self._plan = plan
        self._has_items_here = has_items_here
        self._owns_session = owns_session
        self._terminal = Terminal(config)
        self.results = RunResults(plan)
        self._console = Console(plan, self.results, lambda: self._terminal.size)
        self._is_running = False
        self._without_line: TrialReport | None = None
        self._output: SessionOutput | None = None
        self._interrupts = Interrupts()
        self._invocation = command_line.invocation(config)

    def pytest_sessionstart(self) -> None:
        if self._config.option.collectonly:
            return
        try:
            check_output_files(self._plan.options)
            if not self._has_items_here:
                Journal(self._plan.options.log).close()
        except InputError as problem:
            raise command_line.usage_error(self._config, problem) from None
        if self._owns_session:
            self._quieten_benchmark()

    def _quieten_benchmark(self) -> None:
        """Leave pytest-benchmark's table out, unless it is asked for: it would drown ours."""
        benchmark = self._config.pluginmanager.getplugin("pytest-benchmark")
        asked = ("benchmark_compare", "benchmark_verbose", "benchmark_histogram")
        if benchmark is not None and not any(self._config.getoption(name) for name in asked):
            benchmark.quiet = True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """With --collect-only: the predicted memory of each configuration, beside its id."""
        if not self._config.option.collectonly or self._terminal.verbosity < _LEAST_VERBOSITY:
            return
        ids = [
            item.callspec.params.get("trial") for item in session.items if hasattr(item, "callspec")
        ]
        self._terminal.print_lines("", *self._console.predictions(dict.fromkeys(ids)))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Runs inside the wrapper of ItemHooks, which has begun the run by now."""
        if self._config.option.collectonly:
            return (yield)
        if not self._has_items_here:
            self._inspect_models()
        if self._owns_session:
            self._terminal.hide_file_names()
        awake = environment.keep_awake()
        self._is_running = True
        try:
            self._interrupts.install()
            return (yield)
        finally:
            self._interrupts.end()
            self._is_running = False
            if self._without_line is not None:
                self._print_trial(self._without_line)
            if awake is not None:
                awake.terminate()
                awake.wait()

    def _inspect_models(self) -> None:
        """Find mistakes here: xdist makes an internal error of what its worker raises."""
        runner = StageRunner(self._plan, TaggedLog(), self._terminal.print_lines)
        try:
            runner.inspect_all(self._plan.stages)
        except InputError as problem:
            raise command_line.usage_error(self._config, problem) from None
        finally:
            runner.close({})

    def stage_opened(self, stage: Stage, opened: StageInfo, counts: ItemCounts) -> None:
        """Called once a worker has inspected the model of a stage, and again for later trials."""
        if self.results.add_stage(stage, opened, counts):
            lines = self._console.opened(stage, opened, counts, self._notes())
            self._terminal.print_unless_quiet(*lines)

    def trial_ended(self, trial: TrialReport) -> None:
        """Called where items run in this process: an interruption before the report loses nothing.

        The report comes later, and is printed; without one this is, when the run ends.
        """
        self.results.add(trial)
        self._without_line = trial

    def _notes(self) -> list[str]:
        notes = []
        notes += environment.notes(os.environ)
        if not command_line.has_timeout(self._config):
            notes.append("pytest-timeout is off: a trial that hangs will hang for ever")
        if not self._has_items_here:
            notes.append("under xdist pytest-benchmark switches itself off: nothing is saved there")
        return notes

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """Our letters; no letter for what has a line of its own while items run."""
        outcome = _reported_outcome(report)
        if outcome is None:
            return None
        did_not_fit = outcome.is_memory_failure and report.skipped
        has_its_line = outcome.is_failure is report.failed and not hasattr(report, "wasxfail")
        if self._is_running and self._terminal.verbosity == 0 and (did_not_fit or has_its_line):
            return ("xfailed" if did_not_fit else str(report.outcome)), "", ""
        if did_not_fit:
            word = outcome.replace("_", " ").upper()
            return "xfailed", LETTERS[outcome], (word, {"yellow": True})
        return None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, object, object]:
        # Old-style wrappers, as of pytest-benchmark, would turn an interruption in here into a
        # warning, and that into an internal error where warnings are errors.
        with deferred():
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (soak := _soak_report(report)) is not None:
            self._add_soaks(soak)
        trial = _trial_report(report)
        if trial is None:
            return
        stage = self._plan.stage_called(trial.model, is_check=trial.is_check)
        if trial.opened is not None and not self._has_items_here:
            self.stage_opened(stage, trial.opened, trial.counts)
        self._print_trial(trial)

    def _print_trial(self, trial: TrialReport) -> None:
        lines = self._console.trial(trial, self.results.add(trial))
        self._terminal.print_unless_quiet(*lines)
        self._without_line = None

    def _add_soaks(self, reported: SoakReport) -> None:
        stage = self._plan.stage_called(reported.model, is_check=False)
        if not self._has_items_here:
            for result in reported.results:
                self.soak_ended(stage, result)
                self.print_soak(stage, result)
        self.results.journal_problem = reported.journal_problem
        self._terminal.print_unless_quiet(*self._console.soaked(stage))

    def journal_closed(self, problem: str | None) -> None:
        self.results.journal_problem = problem or self.results.journal_problem

    def soak_begins(self, stage: Stage, config: LoraConfig) -> None:
        """Called where items run in this process: a soak takes minutes."""
        self.results.is_soaking = True
        self._terminal.print_unless_quiet(self._console.soak_begins(stage, config))

    def soak_ended(self, stage: Stage, result: SoakResult) -> None:
        """Called after each soak, before the journal has it: an interruption loses nothing."""
        self.results.add_soak(stage, result)

    def print_soak(self, stage: Stage, result: SoakResult) -> None:
        """Called with each soak that has ended."""
        self._terminal.print_unless_quiet(self._console.soak_ended(stage, result))

    def pytest_unconfigure(self) -> None:
        self._interrupts.remove()

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        was_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if not self.results.results and not (was_interrupted and self.results.has_begun_several):
            return
        with deferred():
            self._output = write_session(self._plan, self.results, self._terminal.shown_path)
        fails = not self.results.has_success or self._output.has_regressed
        if (exitstatus == pytest.ExitCode.OK and fails) or self._output.has_failed_to_write:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        if not self.results.stages:
            return
        terminal = self._terminal
        terminal.print_lines(*self._console.summary(), "")
        if self._output is not None and self._output.comparison is not None:
            terminal.print_lines(
                *baseline_lines(self._output.comparison, terminal.size.columns), ""
            )
        terminal.print_lines(*self._closing_lines())
        terminal.print_unwrapped(*self._next_steps())

    def _closing_lines(self) -> list[str]:
        lines = self._output.lines if self._output else []
        if self.results.journal_problem is not None:
            lines.append(f"The journal is incomplete: {self.results.journal_problem}")
        elif self.results.results:
            lines.append(f"Journal: {self._terminal.shown_path(self._plan.options.log)}")
        return lines or ["No trial has ended, and no profile was written"]

    def _next_steps(self) -> Iterator[str]:
        """Nothing without a profile, or in a sweep before training, which goes on by itself."""
        is_saved = self._output is not None and self._output.is_saved
        if is_saved and not self._config.pluginmanager.hasplugin(TETHER):
            shown = self._terminal.shown_path(self._plan.options.output)
            yield from next_steps(self._plan, self.results, self._invocation, shown)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        machine_info.update(environment.machine_info())


def _trial_report(report: pytest.TestReport) -> TrialReport | None:
    """The trial in `report`, None for other tests and other phases."""
    text = _property(report, PROPERTY)
    return None if text is None else _parse_trial(text)


def _soak_report(report: pytest.TestReport) -> SoakReport | None:
    """The soaks in `report`, None for other tests and other phases."""
    text = _property(report, SOAK_PROPERTY)
    return None if text is None else SoakReport.from_json(text)


def _reported_outcome(report: pytest.TestReport) -> Outcome | None:
    """The outcome of the trial, or of the last soak, in `report`."""
    if (trial := _trial_report(report)) is not None:
        return trial.result.outcome
    soak = _soak_report(report)
    return None if soak is None else soak.results[-1].outcome


@functools.lru_cache(maxsize=1)
def _parse_trial(text: str) -> TrialReport:
    """Two hooks read each report in turn; the lengths of all training rows may be in it."""
    return TrialReport.from_json(text)


def _property(report: pytest.TestReport, wanted: str) -> str | None:
    if report.when != "call":
        return None
    return next((str(value) for name, value in report.user_properties if name == wanted), None)
