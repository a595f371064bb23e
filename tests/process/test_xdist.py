"""One accelerator cannot be shared: one worker of xdist at most."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import pytest

from support.processes import SweepRun


@pytest.mark.parametrize("arguments", [("-n", "0"), ("-p", "no:xdist")])
def test_without_distribution_nothing_changes(sweep: SweepRun, arguments: tuple[str, str]) -> None:
    done = sweep(*arguments, subprocess=True)
    assert done.ret == 0
    assert done.outcomes == ["ok"] * 3


def test_one_worker_gives_the_same_lines_profile_and_status(sweep: SweepRun) -> None:
    done = sweep("-n", "1", "--yourai-max-memory", "0.004", "--yourai-force", subprocess=True)
    assert done.ret == 0
    assert done.outcomes == ["ok", "ok", "over_budget"]
    assert done.profile["complete"] is True
    assert done.profile["memory_limit_gb"] == 0.004
    done.stdout.fnmatch_lines(
        [
            "Testing 3 configurations for: tiny *",
            "Note: under xdist pytest-benchmark switches itself off*",
            "[[]1/3] batch=1, rank=4, layers=2 ... ✓ *",
            "[[]3/3] batch=4, rank=4, layers=2 ... ✗ over budget: needs *",
            "*est configuration that fits",
        ]
    )
    assert len(done.events("trial_complete")) == 3
    workers = [event["pid"] for event in done.events("subprocess_spawned")]
    assert workers
    assert not any(psutil.pid_exists(pid) for pid in workers)


@pytest.mark.parametrize("arguments", [("-n", "2"), ("-n", "4"), ("--dist=load", "--tx=2*popen")])
def test_several_workers_are_refused(sweep: SweepRun, arguments: tuple[str, ...]) -> None:
    done = sweep(*arguments, subprocess=True)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "would share one accelerator" in done.errors
    assert "Traceback" not in done.errors


def test_an_n_in_the_ini_file_is_overridden_as_the_message_says(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    pytester.makeini("[pytest]\naddopts = -n 3\n")
    assert "add -n 0, which also overrides an -n in addopts" in sweep(subprocess=True).errors
    assert sweep("-n", "0", subprocess=True).ret == 0


def test_a_mistake_found_by_the_worker_is_a_usage_error_there_too(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("refuse@inspect")
    done = sweep("-n", "1", subprocess=True)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "this model is refused" in done.errors
    assert "Traceback" not in done.errors + done.text


THE_SECOND_START_FAILS = """
import pathlib

from support.scripted_engine import ScriptedEngine


def engine():
    starts = pathlib.Path(__file__).with_name("starts")
    with starts.open("a") as file:
        file.write("x")
    if starts.stat().st_size == 2:
        raise ImportError("no MLX today")
    return ScriptedEngine()
"""


def test_a_worker_that_fails_in_the_process_of_xdist_is_reported_once(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    monkeypatch: pytest.MonkeyPatch,
    survived: Callable[[str], None],
) -> None:
    pytester.makepyfile(failing=THE_SECOND_START_FAILS)
    path = os.pathsep.join((str(pytester.path), os.environ["PYTHONPATH"]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("YOURAI_TEST_ENGINE", "failing:engine")
    done = sweep("-n", "1", subprocess=True)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.run.assert_outcomes(errors=1, skipped=2)
    done.stdout.fnmatch_lines(
        ["Nothing was measured: ? of 3 items ended so: MLX cannot run here (no MLX today)*"]
    )
    assert "INTERNALERROR" not in done.text
    survived("no worker in the process of xdist")
