"""The items of a run: what each measures, in which order, outcome → report.

Active in the process that runs items: pytest itself, or the one worker of `-n 1`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import InputError
from pytest_yourai.core.paths import SOAK_SUITE
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.signals import deferred
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.benchmark import BENCHMARK, feed_benchmark
from pytest_yourai.plugin.item_timer import ItemTimer
from pytest_yourai.plugin.lora_limit import check_limit
from pytest_yourai.plugin.outcomes import raise_outcome
from pytest_yourai.plugin.parametrization import parametrize, set_properties
from pytest_yourai.plugin.safe_reports import add_worker_sections, make_safe, safe_text
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.report.live_sweep import SweepDisplay, TrialDisplay
from pytest_yourai.store.journal import Journal
from pytest_yourai.sweep.reports import ItemCounts, TrialReport
from pytest_yourai.sweep.stage_info import StageInfo
from pytest_yourai.sweep.stage_runner import StageRunner
from pytest_yourai.sweep.trial_progress import TrialProgress
from pytest_yourai.trial_handle import Trial
from pytest_yourai.worker.process import WorkerStarter

_WAS_CALLED: pytest.StashKey[bool] = pytest.StashKey()


class Listener(Protocol):
    """What follows a run in the process where its items run."""

    def stage_opened(self, stage: Stage, opened: StageInfo, counts: ItemCounts) -> None:
        """Called before each trial of a stage whose model a worker has looked at."""

    def trial_ended(self, trial: TrialReport) -> None:
        """Called with each result before the journal has it; pytest reports it later."""

    def journal_closed(self, problem: str | None) -> None:
        """Called at the end, with what is wrong with the journal."""


class ItemHooks:
    """Registered where items run, while a run is asked for.

    `listener` is None in a process of xdist.
    """

    def __init__(
        self,
        config: pytest.Config,
        plan: RunPlan,
        display: SweepDisplay,
        workers: WorkerStarter,
        listener: Listener | None,
    ) -> None:
        self._config = config
        self._plan = plan
        self._terminal = Terminal(config)
        self._display = display
        self._workers = workers
        self._listener = listener
        self._journal: Journal | None = None
        self.runner: StageRunner | None = None
        """None before the first item, and if no configuration is selected."""
        self._problem: str | None = None
        """Why nothing can be measured in a process of xdist; one item fails for it."""
        self._has_failed = False
        self._selected: dict[Stage, set[str]] = {}
        self._reported: set[Stage] = set()
        self.timer = ItemTimer(config)
        self.trial_display = TrialDisplay(display, plan, self._selected)

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        parametrize(metafunc, self._config, self._plan)

    def trial(self, item_id: str) -> Trial:
        """The value of the fixture `trial`."""
        if self.runner is None:
            pytest.skip("the run has not begun: `trial` is for test functions alone")
        stage = self._plan.stages_by_id[item_id]
        return Trial(stage.name, self.runner.config_of(stage, item_id), item_id)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        for item_id in dict.fromkeys(map(self._id_of, session.items)):
            if item_id is not None:
                self._selected.setdefault(self._plan.stages_by_id[item_id], set()).add(item_id)
        if self._selected and not self._config.option.collectonly:
            try:
                self._journal = Journal(self._plan.options.log)
                if self._journal.note is not None:
                    self._terminal.print_unwrapped(f"Warning: {self._journal.note}")
                self.runner = StageRunner(
                    self._plan,
                    self._journal,
                    self._terminal.print_unwrapped,
                    self._on_progress,
                    self._workers,
                    self._hand_on,
                )
                with self._terminal.uncaptured():
                    self.runner.inspect_all(self._selected)
                self._prepare(session.items, 0)
            except InputError as problem:
                error = command_line.usage_error(self._config, problem)
                if self._listener is not None:
                    raise error from None
                # xdist would make an internal error of it: its items fail for it instead.
                self._problem = str(error)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        # Around pytest-timeout's, whose limit is not for what is prepared here. The item need not
        # be the one that was prepared last: xdist may start anywhere.
        session = item.session
        self._begin(item)
        try:
            result = yield
        except BaseException:
            if not item.stash.get(_WAS_CALLED, False):
                # Set up and not called; see where it is called.
                feed_benchmark(item, None)
            raise
        if self.runner is not None and not (session.shouldstop or session.shouldfail):
            self._prepare(session.items, session.items.index(item) + 1)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        value = yield
        if fixturedef.argname == "benchmark":
            request.node.stash[BENCHMARK] = value
        return value

    def _prepare(self, items: list[pytest.Item], start: int) -> None:
        """Begin the stage of the item at `start`, and move the item there that its search chooses.

        Only past items of the same file and class: pytest has set up for those already.
        """
        stage = self._begin(items[start]) if start < len(items) else None
        sweep = self.runner.sweep_of(stage) if self.runner and stage else None
        if stage is None or sweep is None or not sweep.search.is_on:
            return
        here: dict[LoraConfig, int] = {}
        elsewhere: set[LoraConfig] = set()
        for place in range(len(items) - 1, start - 1, -1):
            item_id = self._id_of(items[place])
            config = stage.configs_by_id.get(item_id) if item_id else None
            if config is None or config in sweep.results:
                continue
            if items[place].parent is items[start].parent:
                here[config] = place
            else:
                elsewhere.add(config)
        chosen = sweep.choose(here, elsewhere) if here else None
        if chosen is not None:
            items.insert(start, items.pop(here[chosen]))

    def _begin(self, item: pytest.Item) -> Stage | None:
        """Begin the stage of an item, and announce it; None for other tests."""
        item_id = self._id_of(item)
        if self.runner is None or item_id is None or self._problem is not None:
            return None
        stage = self._plan.stages_by_id[item_id]
        if not self.runner.is_known(stage, item_id):
            with self._terminal.uncaptured():
                self.runner.begin(stage)
        opened = self.runner.info_of(stage)
        if opened is not None and self._listener is not None:
            self._listener.stage_opened(stage, opened, self._counts(stage))
        return stage

    def _counts(self, stage: Stage) -> ItemCounts:
        return ItemCounts(
            of_stage=len(self._selected[stage]),
            of_all=sum(map(len, self._selected.values())),
            models=len({each.name for each in self._selected}),
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self._problem is None or self._id_of(item) is None:
            return
        if self._has_failed:
            pytest.skip(self._problem)
        self._has_failed = True
        pytest.fail(self._problem, pytrace=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any) -> None:
        safe_text(excrepr)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self._id_of(item) is not None or item.path == SOAK_SUITE:
            make_safe(report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        with deferred():
            if self.runner is not None:
                self.runner.close({stage: len(ids) for stage, ids in self._selected.items()})
            if self._journal is not None:
                self._journal.close()
                if self._listener is not None:
                    self._listener.journal_closed(self._journal.problem)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        trial = getattr(item, "funcargs", {}).get("trial")
        if isinstance(trial, Trial) and self.runner is not None:
            stage = self._plan.stages_by_id[trial.item_id]
            if item.stash.get(_WAS_CALLED, False):
                # Plugins call an item that failed again, to see whether it fails again.
                self.runner.forget(stage, trial.item_id)
            item.stash[_WAS_CALLED] = True
            is_first = not self.runner.is_known(stage, trial.item_id)
            try:
                with self.timer.of(item):
                    result = self._measure(self.runner, stage, trial)
                trial.ended_as(result)
                if is_first:
                    self._publish(item, self.runner, stage, result)
            except BaseException:
                # Unused, its fixture would warn, which is an error where warnings are.
                feed_benchmark(item, None)
                raise
            feed_benchmark(item, result)
            check_limit(item, result, self.runner.sweep_of(stage))
            raise_outcome(result)
        return (yield)

    def _on_progress(self, progress: TrialProgress) -> None:
        self.timer.follow(progress)
        self._display.on_progress(progress)

    def _measure(self, run: StageRunner, stage: Stage, trial: Trial) -> TrialResult:
        try:
            with self.trial_display.trial(run, stage, trial.item_id):
                return run.measure(stage, trial.item_id)
        except pytest.fail.Exception:
            # pytest-timeout raises this out of the wait for the worker.
            if run.is_known(stage, trial.item_id):
                # The trial had ended within the limit; writing its result down had not.
                return run.measure(stage, trial.item_id)
            sweep = run.sweep_of(stage)
            if sweep is None or not sweep.is_measuring:
                raise
            return sweep.abandon_trial(f"no end after {self._plan.options.timeout_s:g} s,")

    def _id_of(self, item: pytest.Item) -> str | None:
        """The id of an item's configuration; None for other tests."""
        callspec = getattr(item, "callspec", None)
        item_id = callspec.params.get("trial") if callspec else None
        return item_id if item_id in self._plan.stages_by_id else None

    def _hand_on(self, stage: Stage, result: TrialResult) -> None:
        if self._listener is not None and self.runner is not None:
            self._listener.trial_ended(self._report(self.runner, stage, result))

    def _report(self, run: StageRunner, stage: Stage, result: TrialResult) -> TrialReport:
        sweep = run.sweep_of(stage)
        return TrialReport(
            model=stage.name,
            is_check=stage.is_check,
            counts=self._counts(stage),
            # Once: the lengths of all training rows are in it.
            opened=None if stage in self._reported else run.info_of(stage),
            journal_problem=self._journal.problem if self._journal else None,
            stopped=sweep.search.stopped if sweep else None,
            result=result,
        )

    def _publish(
        self, item: pytest.Item, run: StageRunner, stage: Stage, result: TrialResult
    ) -> None:
        sweep, reported = run.sweep_of(stage), self._report(run, stage, result)
        self._reported.add(stage)
        set_properties(item, reported)
        if sweep is not None and result.outcome.is_failure:
            add_worker_sections(item, sweep.last_output, sweep.last_traceback)
