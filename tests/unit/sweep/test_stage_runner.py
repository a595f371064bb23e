"""Running the stages of a plan, here of a replay, which needs no worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.plan.stages import make_run_plan
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.sweep.stage_runner import StageRunner

RECORDED = Path(__file__).parents[2] / "data" / "h200_llama8b_quick.json"


class FailingOnce:
    """A journal whose first event fails, in a way that nobody expects."""

    problem: str | None = None

    def __init__(self) -> None:
        self.events: list[str] = []

    def write(self, event: str, /, **_: Any) -> None:
        self.events.append(event)
        if len(self.events) == 1:
            raise RuntimeError("not expected")

    def close(self) -> None:
        pass


def test_a_stage_that_failed_to_open_is_opened_again_for_its_next_item(
    pytester: pytest.Pytester,
) -> None:
    plan = make_run_plan(read_options(pytester.parseconfig(f"--yourai-replay={RECORDED}")))
    [stage] = plan.stages
    first, second, *_ = stage.configs_by_id
    journal = FailingOnce()
    runner = StageRunner(plan, journal, print)
    with pytest.raises(RuntimeError, match="not expected"):
        runner.measure(stage, first)
    assert runner.info_of(stage) is None
    assert runner.measure(stage, second).outcome is Outcome.OK
    assert runner.info_of(stage) is not None
    assert runner.is_known(stage, second)
    assert not runner.is_known(stage, first)
    runner.close({stage: 1})
    assert journal.events.count("benchmark_start") == 2
    assert journal.events[-1] == "benchmark_complete"
