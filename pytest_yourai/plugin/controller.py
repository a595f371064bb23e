"""The controller's side: collects trials from reports, prints them, writes the profile.

Works on `report.user_properties` alone, so that it is the same with and without xdist.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import InputError
from pytest_yourai.core.results import LETTERS, Outcome, SoakResult
from pytest_yourai.core.sanitize import redactor
from pytest_yourai.core.signals import Interrupts
from pytest_yourai.machine import environment
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin.command_line import has_timeout
from pytest_yourai.plugin.display import terminal_size
from pytest_yourai.report.commands import next_steps
from pytest_yourai.report.comparison_lines import baseline_lines
from pytest_yourai.report.console import Console
from pytest_yourai.report.output_files import check_closing_files, write_closing_files
from pytest_yourai.store.compare.baseline import BaselineComparison, compare_with_baseline
from pytest_yourai.store.journal import Journal, TaggedLog
from pytest_yourai.sweep.child_process import PLUGIN as TETHER
from pytest_yourai.sweep.run_results import (
    PROPERTY,
    SOAK_PROPERTY,
    ItemCounts,
    RunResults,
    SoakReport,
    TrialReport,
)
from pytest_yourai.sweep.stage_runner import StageInfo, StageRunner

_LEAST_VERBOSITY = -1
"""-q lists ids, -qq counts them."""


class ControllerHooks:
    """Registered in the process that the user started, while a run is asked for.

    `has_items_here` is False if another process, of xdist, runs the items. With `owns_session` only
    packaged tests run, so that the console is ours.
    """

    def __init__(
        self,
        config: pytest.Config,
        setup: RunPlan,
        *,
        has_items_here: bool,
        owns_session: bool,
    ) -> None:
        self._config = config
        self._setup = setup
        self._has_items_here = has_items_here
        self._owns_session = owns_session
        self._collected = RunResults(setup)
        self._console = Console(setup, self._collected, lambda: terminal_size(config))
        self._is_running = False
        self._compared: BaselineComparison | None = None
        self._is_saved = False
        self._closing_lines: list[str] = []
        self._interrupts = Interrupts()

    def pytest_sessionstart(self) -> None:
        if self._config.option.collectonly:
            return
        try:
            check_closing_files(self._setup.output)
            if not self._has_items_here:
                Journal(self._setup.output.log).close()
        except InputError as problem:
            raise pytest.UsageError(str(problem)) from None
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
        """With --collect-only: what each configuration is predicted to need, beside its id."""
        if not self._config.option.collectonly or self._verbosity < _LEAST_VERBOSITY:
            return
        ids = [
            item.callspec.params.get("trial") for item in session.items if hasattr(item, "callspec")
        ]
        self._say("", *self._console.predictions(dict.fromkeys(ids)))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Runs inside ItemHooks' wrapper, which has begun the run by now."""
        if self._config.option.collectonly:
            return (yield)
        if not self._has_items_here:
            self._look_beforehand()
        if self._owns_session and self._verbosity == 0 and self._reporter is not None:
            # Each trial has a line of its own: the file's name before each would be noise.
            self._reporter.showfspath = False
        awake = environment.keep_awake()
        self._is_running = True
        try:
            self._interrupts.install()
            return (yield)
        finally:
            self._is_running = False
            if awake is not None:
                awake.terminate()
                awake.wait()

    def _look_beforehand(self) -> None:
        """Find mistakes here: xdist makes an internal error of what its worker raises."""
        run = StageRunner(self._setup, TaggedLog(), self._say)
        try:
            run.inspect_all(self._setup.stages)
        except InputError as problem:
            raise pytest.UsageError(str(problem)) from None
        finally:
            run.close({})

    def stage_opened(self, stage: Stage, opened: StageInfo, counts: ItemCounts) -> None:
        """A worker has looked at the model of a stage."""
        lines = self._console.opened(stage, opened, counts, self._notes())
        if self._verbosity >= 0:
            self._say(*lines)

    def _notes(self) -> list[str]:
        notes = []
        if environment.power_source() == "battery":
            notes.append("running on battery: step times may be longer than on mains")
        if environment.low_power_mode():
            notes.append("low-power mode is on: step times will be longer")
        if not has_timeout(self._config):
            notes.append("pytest-timeout is off: a trial that hangs will hang for ever")
        if not self._has_items_here:
            notes.append("under xdist pytest-benchmark switches itself off: nothing is saved there")
        return notes

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """Our letters; and no letter at all where a line of its own says it while it runs."""
        outcome = _outcome_in(report)
        if outcome is None:
            return None
        did_not_fit = outcome.is_memory_failure and report.skipped
        is_told_by_its_line = outcome.is_failure is report.failed and not hasattr(
            report, "wasxfail"
        )
        if self._is_running and self._verbosity == 0 and (did_not_fit or is_told_by_its_line):
            return ("xfailed" if did_not_fit else str(report.outcome)), "", ""
        if did_not_fit:
            word = outcome.replace("_", " ").upper()
            return "xfailed", LETTERS[outcome], (word, {"yellow": True})
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (soak := _soak_in(report)) is not None:
            self._soaked(soak)
        trial = _trial_in(report)
        if trial is None:
            return
        stage = self._setup.stage_called(trial.model, is_check=trial.is_check)
        if trial.opened is not None and not self._has_items_here:
            self.stage_opened(stage, trial.opened, trial.counts)
        lines = self._console.trial(trial, self._collected.add(trial))
        if self._verbosity >= 0:
            self._say(*lines)

    def _soaked(self, reported: SoakReport) -> None:
        stage = self._setup.stage_called(reported.model, is_check=False)
        if not self._has_items_here:
            for result in reported.results:
                self.soak_ended(stage, result)
        self._collected.journal_problem = reported.journal_problem
        if self._verbosity >= 0:
            self._say(*self._console.soaked(stage))

    def soak_begins(self, stage: Stage, config: LoraConfig) -> None:
        """Told while items run in this process: a soak takes minutes."""
        self._collected.is_soaking = True
        if self._verbosity >= 0:
            self._say(self._console.soak_begins(stage, config))

    def soak_ended(self, stage: Stage, result: SoakResult) -> None:
        """Told at once, so that an interruption of the next one loses nothing."""
        self._collected.add_soak(stage, result)
        if self._verbosity >= 0:
            self._say(self._console.soak_ended(stage, result))

    def pytest_unconfigure(self) -> None:
        self._interrupts.remove()

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        results = self._collected.results
        was_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if not results and not (was_interrupted and self._collected.has_begun_several):
            return
        if exitstatus == pytest.ExitCode.OK and not self._collected.has_success:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        document = self._collected.document()
        self._compare(session, document)
        for line in write_closing_files(
            self._setup, self._collected, document, self._compared, self._shown
        ):
            self._closing_lines.append(line.text)
            self._is_saved |= line.saves_profile
            if line.is_failure:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _compare(self, session: pytest.Session, document: Mapping[str, Any]) -> None:
        options = self._setup.output
        if not self._setup.baseline:
            return
        name = self._shown(options.profile)
        try:
            self._compared = compare_with_baseline(
                document, name, self._setup.baseline, options.thresholds
            )
        except InputError as problem:
            self._closing_lines.append(f"Not compared: {problem}")
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        if self._compared.fails and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        if not self._collected.stages:
            return
        if self._collected.journal_problem is not None:
            problem = self._collected.journal_problem
            self._closing_lines.append(f"The journal is incomplete: {problem}")
        elif self._collected.results:
            self._closing_lines.append(f"Journal: {self._shown(self._setup.output.log)}")
        if not self._collected.results and not self._closing_lines:
            self._closing_lines.append("No trial has ended, and no profile was written")
        self._say(*self._console.summary(), "")
        if self._compared is not None:
            self._say(*baseline_lines(self._compared, terminal_size(self._config).columns), "")
        self._say(*self._closing_lines)
        self._say_whole(*self._next_steps())

    def _next_steps(self) -> Iterator[str]:
        """Nothing without a profile, and for a sweep before training, which goes on by itself."""
        if self._is_saved and not self._config.pluginmanager.hasplugin(TETHER):
            arguments = self._config.invocation_params.args
            shown = self._shown(self._setup.output.profile)
            yield from next_steps(self._setup, self._collected, arguments, shown)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        machine_info.update(environment.machine_info())

    @property
    def _verbosity(self) -> int:
        return self._config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES)

    @property
    def _reporter(self) -> Any:
        """None under `-p no:terminal`."""
        return self._config.pluginmanager.getplugin("terminalreporter")

    def _shown(self, path: Path) -> str:
        """As seen from where pytest was started."""
        folder = self._config.invocation_params.dir
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def _say(self, *lines: str) -> None:
        room = terminal_size(self._config)
        self._say_whole(*(part for line in lines for part in room.wrapped(line)))

    def _say_whole(self, *lines: str) -> None:
        """Commands, which are to be copied, are left to the terminal to break."""
        if self._reporter is not None:
            for line in lines:
                self._reporter.write_line(redactor()(line))


def _trial_in(report: pytest.TestReport) -> TrialReport | None:
    text = _property_in(report, PROPERTY)
    return TrialReport.from_json(text) if text is not None else None


def _soak_in(report: pytest.TestReport) -> SoakReport | None:
    text = _property_in(report, SOAK_PROPERTY)
    return SoakReport.from_json(text) if text is not None else None


def _property_in(report: pytest.TestReport, wanted: str) -> str | None:
    if report.when != "call":
        return None
    return next((str(value) for name, value in report.user_properties if name == wanted), None)


def _outcome_in(report: pytest.TestReport) -> Outcome | None:
    """Of its trial, or of the last of its soaks."""
    if (trial := _trial_in(report)) is not None:
        return trial.result.outcome
    soak = _soak_in(report)
    return soak.results[-1].outcome if soak is not None else None
