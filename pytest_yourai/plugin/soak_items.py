"""The packaged soak as pytest items: parametrization, the loop over candidates, outcome → report.

Active in the process that runs items, beside `items`, if a soak is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Generator

import pytest

from pytest_yourai.core.paths import SOAK_SUITE
from pytest_yourai.core.ranking import next_to_soak
from pytest_yourai.core.soak_results import Soak, SoakResult
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.controller import ControllerHooks
from pytest_yourai.plugin.items import ItemHooks
from pytest_yourai.plugin.outcomes import raise_soak_outcome
from pytest_yourai.plugin.safe_reports import add_worker_sections
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.sweep.reports import SOAK_PROPERTY, SoakReport
from pytest_yourai.sweep.soak_runner import SoakClock


class SoakHooks:
    """Registered where items run, if a soak is asked for; `items` has the runner.

    `controller` is None in a process of xdist: it reads the reports there.
    """

    def __init__(
        self,
        config: pytest.Config,
        plan: RunPlan,
        items: ItemHooks,
        controller: ControllerHooks | None,
    ) -> None:
        self._config = config
        self._plan = plan
        self._items = items
        self._controller = controller
        self._terminal = Terminal(config)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if metafunc.definition.path == SOAK_SUITE:
            # It takes as long as it is asked to, and has a clock of its own.
            timeout = [pytest.mark.timeout(0)] if command_line.has_timeout(self._config) else []
            params = [
                pytest.param(
                    item_id, id=item_id, marks=[pytest.mark.lora(model=each.name), *timeout]
                )
                for item_id, each in self._plan.soaked_by_id.items()
            ]
            metafunc.parametrize("soak", params, indirect=True)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        soak = getattr(item, "funcargs", {}).get("soak")
        if isinstance(soak, Soak):
            stage = self._plan.soaked_by_id[soak.item_id]
            self._soak(item, soak, stage)
            raise_soak_outcome(soak, stage)
        return (yield)

    def _soak(self, item: pytest.Item, soak: Soak, stage: Stage) -> None:
        """Soak the best configuration, then, while they fail, the next best."""
        run, soak_s = self._items.runner, self._plan.options.soak_s
        if run is None or soak_s is None:
            return
        options = self._plan.options
        clock = SoakClock(soak_s, options.timeout_s, options.compile_timeout_s)
        sweep = run.sweep_of(stage)
        results = list(sweep.results.values()) if sweep else []
        while trial := next_to_soak(results, soak.results, self._plan.options.objective):
            if self._controller is not None:
                with self._terminal.uncaptured():
                    self._controller.soak_begins(stage, trial.config)
            with self._items.trial_display.soak(stage, trial.config):
                soaked = run.soak(stage, trial, clock, functools.partial(self._add, soak, stage))
            if self._controller is not None:
                with self._terminal.uncaptured():
                    self._controller.print_soak(stage, soaked.result)
            if soaked.result.outcome.is_failure:
                add_worker_sections(item, soaked.output, soaked.traceback)
        if soak.results:
            reported = SoakReport(stage.name, tuple(soak.results), run.journal_problem)
            outcome = soak.results[-1].outcome.value
            item.user_properties += [
                (SOAK_PROPERTY, reported.to_json()),
                (f"{SOAK_PROPERTY}_outcome", outcome),
            ]

    def _add(self, soak: Soak, stage: Stage, result: SoakResult) -> None:
        soak.results.append(result)
        if self._controller is not None:
            self._controller.soak_ended(stage, result)
