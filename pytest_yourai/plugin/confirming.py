"""The end of a run with a gate: what seems slower is measured again, before the session ends.

Active in the process that runs items. Registered last, so that this runs inside of all other
wrappers of the loop, while a run can still be interrupted.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.units import plural
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin.items import ItemHooks
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.sweep.confirming import confirm
from pytest_yourai.sweep.reports import CONFIRMATION, ConfirmationReport
from pytest_yourai.sweep.run_results import RunResults


class ConfirmationHooks:
    """Registered where items run; `results` is None in a process of xdist, which hands them on."""

    def __init__(
        self, config: pytest.Config, plan: RunPlan, items: ItemHooks, results: RunResults | None
    ) -> None:
        self._config = config
        self._plan = plan
        self._items = items
        self._results = results
        self._terminal = Terminal(config)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        result = yield
        run = self._items.runner
        if run is None or self._config.option.collectonly:
            return result
        with self._terminal.uncaptured():
            found = tuple(confirm(self._plan, run, self._begins))
        if self._results is not None:
            for each in found:
                self._results.add_confirmation(each)
        elif found:
            output = self._config.workeroutput  # type: ignore[attr-defined]  # of xdist
            output[CONFIRMATION] = ConfirmationReport(found).to_json()
        return result

    def _begins(self, stage: Stage, configs: list[LoraConfig]) -> None:
        if self._results is None:
            return
        self._terminal.print_unless_quiet(
            f"Slower than the baseline: measuring {plural(len(configs), 'configuration')} of "
            f"{stage.name} again"
        )


class ConfirmationOfWorkers:
    """Registered in the process that the user started, if a worker of xdist runs the items."""

    def __init__(self, results: RunResults) -> None:
        self._results = results

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        text = getattr(node, "workeroutput", {}).get(CONFIRMATION)
        for each in ConfirmationReport.from_json(text).found if text else ():
            self._results.add_confirmation(each)
