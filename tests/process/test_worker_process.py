"""A worker that is started ahead of its use: taken once, and never left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.worker.client import WorkerClient
from pytest_yourai.worker.process import WorkerProcess, WorkerStarter

from support.processes import SweepRun

RECORDED = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"

TAG = "YOURAI_TEST_TAG"


@pytest.fixture
def starter() -> Iterator[WorkerStarter]:
    starter = WorkerStarter()
    yield starter
    starter.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process numbers of all workers that this process starts from now on."""
    pids: list[int] = []
    start = WorkerProcess.__init__

    def record(process: WorkerProcess, *arguments: Any) -> None:
        start(process, *arguments)
        pids.append(process.pid)

    monkeypatch.setattr(WorkerProcess, "__init__", record)
    return pids


def workers_tagged(tag: str) -> list[int]:
    """Live workers with this tag in their environment, whoever's children they are."""
    found = []
    for process in psutil.process_iter():
        try:
            is_worker = any("pytest_yourai/worker" in part for part in process.cmdline())
            if is_worker and process.environ().get(TAG) == tag:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_one_that_was_started_ahead_is_taken_once(
    starter: WorkerStarter, started: list[int]
) -> None:
    starter.start_ahead()
    first, second = WorkerClient(starter.take()), WorkerClient(starter.take())
    try:
        starter.close()
        assert started == [first.pid, second.pid]
        assert isinstance(first.answer(DeviceInfo), DeviceInfo)
    finally:
        first.kill()
        second.kill()


def test_one_that_nobody_took_is_ended(starter: WorkerStarter, started: list[int]) -> None:
    starter.start_ahead()
    before = psutil.Process().num_fds()
    starter.close()
    assert not psutil.pid_exists(started[0])
    assert psutil.Process().num_fds() == before - 5


def test_one_with_an_earlier_environment_is_replaced(
    starter: WorkerStarter, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    starter.start_ahead()
    monkeypatch.setenv(TAG, "set by a conftest.py that was collected")
    taken = starter.take()
    try:
        assert len(started) == 2
        assert not psutil.pid_exists(started[0])
        assert taken.pid == started[1]
    finally:
        taken.kill()


def test_a_refusal_is_reported_when_a_worker_is_needed(
    starter: WorkerStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    starter.start_ahead()
    with pytest.raises(WorkerError, match="cannot be started"):
        starter.take()


def test_a_sweep_runs_in_the_worker_that_was_started_ahead(
    sweep: SweepRun, started: list[int]
) -> None:
    done = sweep()
    assert done.outcomes == ["ok"] * 3
    assert [event["pid"] for event in done.events("subprocess_spawned")] == started


@pytest.mark.parametrize(
    ("arguments", "most", "status"),
    [
        (("--collect-only",), 0, pytest.ExitCode.OK),
        (("--help",), 0, pytest.ExitCode.OK),
        (("-k", "nothing_is_called_so"), 1, pytest.ExitCode.NO_TESTS_COLLECTED),
        (("--yourai-max-memory", "much"), 1, pytest.ExitCode.USAGE_ERROR),
        (("broken",), 1, pytest.ExitCode.INTERRUPTED),
        (("-n", "2"), 0, pytest.ExitCode.USAGE_ERROR),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_no_worker_is_left_where_none_is_needed(
    pytester: pytest.Pytester,
    started: list[int],
    arguments: tuple[str, ...],
    most: int,
    status: pytest.ExitCode,
) -> None:
    (pytester.mkdir("broken") / "test_broken.py").write_text("import no_such_module\n")
    done = pytester.runpytest_inprocess("--yourai-model", "tiny", "--quick", *arguments)
    assert done.ret == status
    assert len(started) <= most
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_replay_starts_none(pytester: pytest.Pytester, started: list[int]) -> None:
    done = pytester.runpytest_inprocess("--yourai-replay", str(RECORDED))
    assert done.ret == 0
    assert started == []


def test_xdist_leaves_none(sweep: SweepRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TAG, str(os.getpid()))
    assert sweep("-n", "1", subprocess=True).outcomes == ["ok"] * 3
    assert workers_tagged(str(os.getpid())) == []
