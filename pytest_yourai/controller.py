"""The controller's side: collects trials from reports, prints them, writes the profile.

Works on `report.user_properties` alone, so that it is the same with and without xdist.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from pytest_yourai.errors import InputError, OutputError
from pytest_yourai.flags import has_timeout
from pytest_yourai.interrupts import Interrupts
from pytest_yourai.items import PROPERTY, ItemHooks
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.plan import SweepSetup
from pytest_yourai.redaction import redactor
from pytest_yourai.report import terminal
from pytest_yourai.report.data import data_lines, data_object
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.session import Sweep, not_needed
from pytest_yourai.store import environment, profile
from pytest_yourai.store.journal import Journal, NoJournal
from pytest_yourai.sweep_plan import Surroundings

_LEAST_VERBOSITY = -1
"""-q lists ids, -qq counts them."""

_LETTERS = {
    Outcome.OVER_BUDGET: "B",
    Outcome.OOM: "O",
    Outcome.PAGING: "P",
    Outcome.SAFETY_STOP: "S",
    Outcome.MACHINE_CRASH: "M",
}


class ControllerHooks:
    """Registered in the process that the user started, while a sweep is asked for.

    `item_hooks` is None where another process, of xdist, runs the items. `owns_session` says that
    the packaged test is all that runs, so that the console is ours.
    """

    def __init__(
        self,
        config: pytest.Config,
        setup: SweepSetup,
        item_hooks: ItemHooks | None,
        *,
        owns_session: bool,
    ) -> None:
        self._config = config
        self._setup = setup
        self._item_hooks = item_hooks
        self._owns_session = owns_session
        self._surroundings: Surroundings | None = None
        self._results: list[TrialResult] = []
        self._total = 0
        self._is_running = False
        self._journal_problem: str | None = None
        self._stopped: str | None = None
        self._closing_lines: list[str] = []
        self._interrupts = Interrupts()

    def pytest_sessionstart(self) -> None:
        if self._config.option.collectonly:
            return
        try:
            profile.check_writable(self._setup.options.output)
            if self._item_hooks is None:
                Journal(self._setup.options.log).close()
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
        ids = {
            item.callspec.params.get("trial"): None
            for item in session.items
            if hasattr(item, "callspec")
        }
        chosen = {
            item_id: config
            for item_id, config in self._setup.configs_by_id.items()
            if item_id in ids
        }
        self._say(
            "",
            *terminal.predictions(chosen, self._setup.predictor(), self._setup.known_limit_bytes),
        )

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Runs inside ItemHooks' wrapper, which has started the sweep by now."""
        self._surroundings = self._find_surroundings()
        if self._surroundings is None:
            return (yield)
        self._announce(self._surroundings)
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

    def _find_surroundings(self) -> Surroundings | None:
        if self._config.option.collectonly:
            return None
        if self._item_hooks is not None:
            sweep = self._item_hooks.sweep
            self._total = self._item_hooks.total
            return sweep.surroundings if sweep else None
        self._total = len(self._setup.plan.configs)
        try:
            sweep = Sweep(self._setup.plan, NoJournal(), self._setup.history())
        except InputError as problem:
            raise pytest.UsageError(str(problem)) from None
        sweep.close(complete=False)
        return sweep.surroundings

    def _announce(self, surroundings: Surroundings) -> None:
        if self._owns_session and self._verbosity == 0 and self._reporter is not None:
            # Each trial has a line of its own: the file's name before each would be noise.
            self._reporter.showfspath = False
        if self._verbosity < 0:
            return
        device = surroundings.device
        self._say("")
        self._say(
            *terminal.header(
                title=self._setup.model.title,
                weights=self._setup.weights,
                configurations=self._total,
                budget=surroundings.budget,
                system_memory_bytes=read_system_memory().total_bytes,
                device=f"{device.name} ({device.backend}), MLX {device.mlx_version}",
                notes=self._notes(surroundings),
                is_replay=self._setup.plan.recording is not None,
            )
        )
        self._say(*data_lines(surroundings.inspection.data, self._max_seq_length))

    def _notes(self, surroundings: Surroundings) -> list[str]:
        notes = [*self._setup.notes, *surroundings.notes]
        if environment.power_source() == "battery":
            notes.append("running on battery: step times may be longer than on mains")
        if environment.low_power_mode():
            notes.append("low-power mode is on: step times will be longer")
        if not has_timeout(self._config):
            notes.append("pytest-timeout is off: a trial that hangs will hang for ever")
        if self._item_hooks is None:
            notes.append("under xdist pytest-benchmark switches itself off: nothing is saved there")
        return notes

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """Our letters; and no letter at all where the trial's own line says it while it runs."""
        trial = _trial_in(report)
        if trial is None:
            return None
        outcome = trial.result.outcome
        did_not_fit = outcome.is_memory_failure and report.skipped
        is_told_by_its_line = outcome.is_failure is report.failed and not hasattr(
            report, "wasxfail"
        )
        if self._is_running and self._verbosity == 0 and (did_not_fit or is_told_by_its_line):
            return ("xfailed" if did_not_fit else str(report.outcome)), "", ""
        if did_not_fit:
            word = outcome.replace("_", " ").upper()
            return "xfailed", _LETTERS[outcome], (word, {"yellow": True})
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        trial = _trial_in(report)
        if trial is None:
            return
        self._results.append(trial.result)
        self._total = trial.total
        self._journal_problem = trial.journal_problem
        self._stopped = trial.stopped
        if self._verbosity >= 0 and not trial.is_not_needed:
            self._say(terminal.trial_line(len(self._results), self._total, trial.result))
            self._say(*terminal.errors_so_far(self._results))

    def pytest_unconfigure(self) -> None:
        self._interrupts.remove()

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not self._results or self._surroundings is None:
            return
        if exitstatus == pytest.ExitCode.OK and not any(each.success for each in self._results):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        options = self._setup.options
        try:
            profile.write_json(
                options.output,
                profile.build_profile(
                    model=self._setup.model.name,
                    results=self._results,
                    complete=self._is_complete,
                    objective=options.objective,
                    memory_limit_bytes=self._results[-1].memory_limit_bytes
                    or self._surroundings.budget.limit_bytes,
                    settings=self._settings(self._surroundings),
                    environment=environment.describe(self._surroundings.device),
                    data=data_object(
                        self._surroundings.inspection.data,
                        self._max_seq_length,
                        self._results,
                        options.objective,
                    ),
                ),
            )
            self._closing_lines.append(f"Saved to: {_shown(options.output, self._config)}")
        except OutputError as problem:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._closing_lines.append(f"Not saved: {problem}")
            if self._journal_problem is None:
                self._closing_lines.append(f"The journal has it all: {options.log}")

    @property
    def _is_complete(self) -> bool:
        return len(self._results) >= self._total

    @property
    def _max_seq_length(self) -> int:
        return int(self._setup.plan.settings["max_seq_length"])

    def _settings(self, surroundings: Surroundings) -> dict[str, Any]:
        keys = list(surroundings.inspection.lora_keys)
        return {**self._setup.plan.settings, "lora_keys": keys}

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        if self._surroundings is None:
            return
        if self._journal_problem is not None:
            self._closing_lines.append(f"The journal is incomplete: {self._journal_problem}")
        if not self._results:
            self._closing_lines.append("Nothing was measured, and no profile written")
        objective = self._setup.options.objective
        data = self._surroundings.inspection.data
        self._say(*terminal.summary(self._results, objective, self._total, self._stopped, data))
        self._say("", *self._closing_lines)

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

    def _say(self, *lines: str) -> None:
        if self._reporter is not None:
            for line in lines:
                self._reporter.write_line(redactor()(line))


class _ReportedTrial:
    """A trial as it came in a report."""

    def __init__(self, text: str) -> None:
        payload = json.loads(text)
        self.total: int = payload["total"]
        self.journal_problem: str | None = payload["journal_problem"]
        self.stopped: str | None = payload["stopped"]
        self.result = TrialResult.from_json(payload["result"])

    @property
    def is_not_needed(self) -> bool:
        """Whether the fast search left it out."""
        return self.stopped is not None and self.result.reason == not_needed(self.stopped)


def _trial_in(report: pytest.TestReport) -> _ReportedTrial | None:
    if report.when != "call":
        return None
    text = next((value for name, value in report.user_properties if name == PROPERTY), None)
    return _ReportedTrial(str(text)) if text is not None else None


def _shown(path: Any, config: pytest.Config) -> str:
    folder = config.invocation_params.dir
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
