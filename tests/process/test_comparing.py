"""--yourai-compare and --yourai-fail-on: a run beside an earlier one, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import SweepResult
from support.profiles import QUICK, document, failing, larger, slower

Plan = Callable[[dict[str, Any]], object]


@pytest.fixture
def compared(pytester: pytest.Pytester) -> Callable[..., SweepResult]:
    """Replays the recorded profile beside one that a plan has made of it."""

    def run(plan: Plan, *arguments: str) -> SweepResult:
        for name, change in (("now.json", lambda _: None), ("old.json", plan)):
            found = document(change)
            if "all_results" in found:
                found["all_results"] = found["all_results"][-4:]
            Path(name).write_text(json.dumps(found), encoding="utf-8")
        done = pytester.runpytest_inprocess(
            "--yourai-replay=now.json", "--yourai-compare=old.json", *arguments
        )
        return SweepResult(done, pytester.path)

    return run


Compared = Callable[..., SweepResult]


def test_a_run_that_is_not_worse_passes(compared: Compared) -> None:
    done = compared(slower(1.0))
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        [
            "llama-8b: optimal_config.json compared with *old.json of 2026-11-21 09:08 UTC*",
            "*configuration *needs *now *change *",
            "*batch=4, rank=128, layers=32 *+0.0 %*ok",
            "No regression (minimum_memory:5%, mean_step_time:10%, step_time:25%)",
        ]
    )


def test_what_got_worse_is_named_and_fails_the_session(compared: Compared) -> None:
    done = compared(larger(0.9, -4, -3))
    assert done.ret == 1
    assert done.text.count("REGRESSION ") == 2
    assert "passed" in done.text
    assert done.outcomes == ["ok"] * 4
    assert "Saved to: optimal_config.json" in done.text


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--yourai-fail-on=minimum_memory:5%"], 0),
        (["--yourai-fail-on=minimum_memory:5%", "--yourai-fail-on=mean_step_time:5%"], 1),
        (["--yourai-fail-on=mean_step_time:5%", "--yourai-fail-on=none"], 0),
        (["--yourai-fail-on=tokens_per_second:10%"], 1),
    ],
)
def test_the_gate_is_the_users(compared: Compared, flags: list[str], status: int) -> None:
    assert compared(slower(1 / 1.2), *flags).ret == status


def test_the_gate_may_stand_in_the_ini_file(compared: Compared, pytester: pytest.Pytester) -> None:
    pytester.makeini("""
        [pytest]
        yourai_fail_on =
            minimum_memory:5%
            step_time:20%+1s
    """)
    done = compared(slower(1 / 1.5))
    assert done.ret == 0
    assert "No regression (minimum_memory:5%, step_time:20%+1s)" in done.text


def test_what_no_longer_fits_is_a_regression_whatever_the_gate(compared: Compared) -> None:
    done = compared(slower(1.0), "--yourai-max-memory=16", "--yourai-fail-on=minimum_memory:500%")
    assert done.ret == 1
    assert (
        "REGRESSION batch=4, rank=128, layers=32: no longer fits: skipped: predicted " in done.text
    )
    assert "other budget: 110.0 GB, now 16.0 GB" in done.text


def test_what_failed_before_and_is_ok_now_is_shown(compared: Compared) -> None:
    done = compared(failing(-4, "oom", minimum_memory_bytes=None, peak_memory_bytes=None))
    assert done.ret == 0
    assert "oom → ok" in done.text


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (lambda it: it.update(model="other"), "old.json is of other, not of llama-8b"),
        (lambda it: it.update(schema_version=9), "old.json: schema_version: 9 is newer"),
        (lambda it: it.clear(), "old.json: model: it must name the model"),
    ],
)
def test_an_unusable_baseline_is_refused_before_anything_runs(
    compared: Compared, plan: Plan, said: str
) -> None:
    done = compared(plan)
    assert done.ret == 4
    [line] = [line for line in done.errors.splitlines() if line.strip()]
    assert said in line
    assert not done.has_profile


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--yourai-output=old.json"], "is read for --yourai-compare"),
        (["--yourai-fail-on=step_time:5"], "--yourai-fail-on: 'step_time:5' is not valid"),
    ],
)
def test_mistaken_flags_are_refused(compared: Compared, flags: list[str], said: str) -> None:
    done = compared(slower(1.0), *flags)
    assert done.ret == 4
    assert said in done.errors


def test_a_gate_needs_something_to_compare_with(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess(f"--yourai-replay={QUICK}", "--yourai-fail-on=step_time:5%")
    assert done.ret == 4
    assert "add --yourai-compare=PROFILE" in done.stderr.str()


def test_a_run_of_other_configurations_does_not_pass(
    compared: Compared, pytester: pytest.Pytester
) -> None:
    def other(it: dict[str, Any]) -> None:
        for row in it["all_results"]:
            row["batch_size"] *= 16

    done = compared(other)
    assert done.ret == 1
    assert "none of the configurations that succeeded in the first is in the second" in done.text
    assert done.has_profile
    pytester.syspathinsert()
    pytester.makepyfile(interrupting="def pytest_runtest_teardown(): raise KeyboardInterrupt")
    # pytester raises it again where the session ended with the status of an interruption.
    with pytest.raises(KeyboardInterrupt):
        compared(other, "-p", "interrupting")
