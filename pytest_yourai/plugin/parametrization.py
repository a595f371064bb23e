"""What an item has of its configuration, id and marks, and its report of the result."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.axes import AXES, value_text
from pytest_yourai.core.paths import SUITE
from pytest_yourai.plan.stages import RunPlan, Stage
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.benchmark import ReplayClock
from pytest_yourai.plugin.fixture_choice import keep_packaged_fixtures, takes_our_trial
from pytest_yourai.plugin.lora_limit import check_mark
from pytest_yourai.sweep.reports import PROPERTY, TrialReport


def parametrize(metafunc: pytest.Metafunc, config: pytest.Config, plan: RunPlan) -> None:
    """Make one item a configuration of each test that takes our `trial`."""
    if metafunc.definition.path == SUITE:
        keep_packaged_fixtures(metafunc)
    check_mark(metafunc)
    if takes_our_trial(metafunc):
        has_benchmark = "benchmark" in metafunc.fixturenames and command_line.has_benchmark(config)
        timeout_s = plan.options.timeout_s if command_line.has_timeout(config) else None
        metafunc.parametrize(
            "trial",
            [
                _param(item_id, stage, timeout_s, has_benchmark)
                for item_id, stage in plan.stages_by_id.items()
            ],
            indirect=True,
        )


def _param(item_id: str, stage: Stage, timeout_s: float | None, has_benchmark: bool) -> Any:
    config = stage.configs_by_id[item_id]
    axes = config and {axis.argument: _marked(axis.stored(config)) for axis in AXES}
    marks = [pytest.mark.lora(model=stage.name, **(axes or {}))]
    if timeout_s is not None:
        marks.append(pytest.mark.timeout(timeout_s, method="signal"))
    if has_benchmark:
        marks.append(pytest.mark.benchmark(timer=ReplayClock()))
    return pytest.param(item_id, id=item_id, marks=marks)


def _marked(value: Any) -> Any:
    """`value` as `-m` can name it: pytest reads whole numbers and texts there, no fractions."""
    is_fraction = isinstance(value, float) and not value.is_integer()
    return value_text(value) if is_fraction else value


def set_properties(item: pytest.Item, reported: TrialReport) -> None:
    """Let the report of `item` have the result, for the controller and for JUnit XML."""
    result = reported.result
    # Without those of an earlier call of the same item.
    kept = [each for each in item.user_properties if not each[0].startswith(PROPERTY)]
    values = {
        f"{PROPERTY}_{name}": getattr(result, name)
        for name in ("minimum_memory_bytes", "peak_memory_bytes", "step_time_s")
    }
    item.user_properties[:] = [
        *kept,
        (PROPERTY, reported.to_json()),
        *((name, value) for name, value in values.items() if value is not None),
        (f"{PROPERTY}_outcome", result.outcome.value),
    ]
