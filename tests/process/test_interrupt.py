"""Ctrl-C, once and twice, and a parent that is gone: the worker ends, what is known stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support import faults, worker_faults
from support.faults import Judgement, processes_left, processes_with
from support.processes import (
    SweepRun,
    events,
    finish,
    is_gone,
    journal,
    outcomes,
    profile,
    start_sweep,
    wait_for,
    worker_of,
    worker_pids,
)

LONG = "batch_size: [1, 64, 128]\nlora_rank: [4]\nlora_layers: [2]\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep in its second of three trials, which would run for minutes."""
    with start_sweep(tmp_path, "--yourai-steps=200", matrix=LONG) as process:
        wait_for(lambda: len(events(tmp_path, "trial_start")) >= 2)
        time.sleep(0.5)
        yield process


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_ends_the_worker_and_keeps_what_is_known(
    tmp_path: Path,
    running: subprocess.Popen[str],
    sent: signal.Signals,
    record_property: Callable[[str, object], None],
) -> None:
    worker = worker_of(tmp_path)
    running.send_signal(sent)
    output = finish(running)
    assert running.returncode == pytest.ExitCode.INTERRUPTED
    assert is_gone(worker)
    assert "Incomplete: 1 of 3 configurations" in output
    assert "Optimal Configuration Found" in output
    assert "warning" not in output
    assert "Traceback" not in output
    assert profile(tmp_path)["complete"] is False
    last = journal(tmp_path)[-1]
    assert (last["event"], last["complete"]) == ("benchmark_complete", False)
    faults.report(
        record_property,
        Judgement(
            f"{sent.name} to pytest",
            outcomes(tmp_path) == ["ok"],
            1 - len(outcomes(tmp_path)),
            processes_left(worker_pids(tmp_path)),
        ),
    )


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.3])
def test_ctrl_c_twice_leaves_nothing_behind_and_loses_nothing(
    tmp_path: Path,
    running: subprocess.Popen[str],
    pause_s: float,
    record_property: Callable[[str, object], None],
) -> None:
    worker = worker_of(tmp_path)
    running.send_signal(signal.SIGINT)
    time.sleep(pause_s)
    running.send_signal(signal.SIGINT)
    output = finish(running)
    assert running.returncode != 0
    assert is_gone(worker)
    known = [event["outcome"] for event in events(tmp_path, "trial_complete")]
    rows = outcomes(tmp_path)
    assert list(tmp_path.glob(".yourai-*")) == []
    assert "Traceback" not in output, output
    faults.report(
        record_property,
        Judgement(
            "SIGINT twice",
            known == ["ok"],
            len(known) - len(rows),
            processes_left(worker_pids(tmp_path)),
        ),
    )


def test_a_worker_does_not_outlive_its_parent(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    worker = worker_of(tmp_path)
    running.kill()
    running.wait()
    wait_for(lambda: is_gone(worker))
    wait_for(lambda: processes_left(worker_pids(tmp_path)) == 0)
    assert [event["outcome"] for event in events(tmp_path, "trial_complete")] == ["ok"]


@pytest.mark.real_engine
def test_not_even_while_its_compiler_runs(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # An empty temporary folder: MLX compiles its first step with g++, which takes seconds.
    (tmp_path / "empty").mkdir()
    with start_sweep(tmp_path, environment={"TMPDIR": str(tmp_path / "empty")}) as running:
        wait_for(lambda: len(events(tmp_path, "trial_start")) == 1)
        wait_for(lambda: worker_of(tmp_path).children(recursive=True))
        running.kill()
        running.communicate()
    wait_for(lambda: processes_left(worker_pids(tmp_path)) == 0)
    faults.report(
        record_property,
        Judgement(
            "pytest SIGKILL while MLX compiles", True, 0, processes_left(worker_pids(tmp_path))
        ),
    )


SLOW = "batch_size: [1, 2]\nlora_rank: [4]\nlora_layers: [2]\n"


@pytest.mark.parametrize(
    "stopped",
    [
        "worker",
        pytest.param(
            "worker and watchdog",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children itself"),
        ),
    ],
)
def test_neither_being_stopped_nor_a_session_of_its_own_keeps_a_process(
    tmp_path: Path,
    faulty_worker: Callable[[str], None],
    record_property: Callable[[str, object], None],
    stopped: str,
) -> None:
    faulty_worker("leave_processes@load")
    mark = worker_faults.DONE_VARIABLE, os.environ[worker_faults.DONE_VARIABLE]
    with start_sweep(tmp_path, environment={"YOURAI_TEST_STEP_S": "0.5"}, matrix=SLOW) as running:
        wait_for(lambda: events(tmp_path, "trial_start"))
        worker = worker_of(tmp_path)
        # pytest, its worker, their watchdog, and the two that the worker has left.
        wait_for(lambda: processes_with(*mark) == 5)
        worker.suspend()
        if stopped == "worker and watchdog":
            watchdogs = [each for each in psutil.Process(running.pid).children() if each != worker]
            [watchdog] = [each for each in watchdogs if "watchdog" in " ".join(each.cmdline())]
            watchdog.suspend()
        running.kill()
        running.wait()
    if stopped == "worker and watchdog":
        wait_for(lambda: is_gone(worker), 30)
        watchdog.resume()
    wait_for(lambda: processes_with(*mark) == 0, 30)
    faults.report(
        record_property,
        Judgement(f"pytest SIGKILL, {stopped} stopped", True, 0, processes_with(*mark)),
    )


def test_what_a_worker_left_ends_with_an_ordinary_sweep(
    sweep: SweepRun,
    faulty_worker: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    faulty_worker("leave_processes@load")
    mark = worker_faults.DONE_VARIABLE, os.environ[worker_faults.DONE_VARIABLE]
    done = sweep()
    faults.report(
        record_property,
        Judgement(
            "processes that a worker left",
            done.outcomes == ["ok"] * 3 and Path(mark[1]).exists(),
            0,
            processes_with(*mark),
        ),
    )


def test_the_journal_ends_in_whole_lines(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    running.kill()
    running.wait()
    text = (tmp_path / "benchmark_log.jsonl").read_text()
    assert text.endswith("\n")
    assert all(json.loads(line)["event"] for line in text.splitlines())
