"""Ctrl-C, once and twice, and a parent that is gone: the worker ends, what is known stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import psutil
import pytest

from support import faults, worker_faults
from support.faults import Judge, Judgement, processes_left, processes_with
from support.line_by_line import SignalAtLine
from support.processes import (
    Running,
    SweepResult,
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
def running(tmp_path: Path) -> Iterator[Running]:
    """A sweep in its second of three trials, which would run for minutes."""
    with start_sweep(tmp_path, "--yourai-steps=200", matrix=LONG) as process:
        wait_for(lambda: len(events(tmp_path, "trial_start")) >= 2)
        time.sleep(0.5)
        yield process


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_ends_the_worker_and_keeps_what_is_known(
    tmp_path: Path,
    running: Running,
    sent: signal.Signals,
    record_property: Callable[[str, object], None],
) -> None:
    worker = worker_of(tmp_path)
    running.send_signal(sent)
    output = finish(running)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, output
    assert is_gone(worker)
    assert "Best so far (1 of 3 measured)" in output
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
    running: Running,
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


class SignalWhileRecording:
    """A pytest plugin that raises a signal so many lines after the `trial`th trial has a result.

    Lines are those of files whose names end with `within`.
    """

    def __init__(self, trial: int, line: int, sent: signal.Signals, within: str = ".py") -> None:
        self.at = SignalAtLine(line, (within,), sent, after="_keep")
        self._trial = trial
        self._seen = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._seen += 1
        with self.at if self._seen == self._trial else contextlib.nullcontext():
            return (yield)


@pytest.mark.parametrize(
    ("trial", "line"),
    [*((1, line) for line in (0, 60, 160, 700)), *((3, line) for line in (80, 300, 1500))],
)
def test_an_interruption_at_any_line_after_a_trial_loses_nothing_that_the_journal_has(
    pytester: pytest.Pytester, small_matrix: Path, judge: Judge, trial: int, line: int
) -> None:
    at = SignalWhileRecording(trial, line, [signal.SIGINT, signal.SIGTERM][line % 2])
    matrix = f"--yourai-matrix={small_matrix}"
    ended = pytester.runpytest_inprocess(
        "--yourai-model=tiny", "--yourai-steps=2", matrix, plugins=(at,), no_reraise_ctrlc=True
    )
    done = SweepResult(ended, pytester.path)
    assert at.at.is_raised
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert "INTERNALERROR" not in done.text + done.errors
    if line == 0:
        # Before it is taken in, it is neither here nor there.
        assert done.events("trial_complete") == []
        assert not done.has_profile
        return
    judge("signal while a result is recorded", done, ["ok"] * trial)
    assert len(done.events("trial_complete")) == trial
    assert f"[{trial}/3] " in done.text
    assert f"Best so far ({trial} of 3 measured)" in done.text or trial == 3


class OldWrapper:
    """As pytest-timeout's wrappers; an interruption comes while the first of `hook` ends."""

    def __init__(self, hook: str) -> None:
        self._has_come = False

        @pytest.hookimpl(hookwrapper=True)
        def wrap() -> Generator[None, object, None]:
            yield
            if not self._has_come:
                self._has_come = True
                signal.raise_signal(signal.SIGINT)

        setattr(self, hook, wrap)


@pytest.mark.parametrize("hook", ["protocol", "setup", "call", "teardown"])
def test_an_interruption_at_the_end_of_an_old_wrapper_ends_the_run(
    pytester: pytest.Pytester, small_matrix: Path, judge: Judge, hook: str
) -> None:
    """pluggy would make a warning of it, and that is an error here."""
    arguments = ("--yourai-model=tiny", "--yourai-steps=2", f"--yourai-matrix={small_matrix}")
    plugin = OldWrapper(f"pytest_runtest_{hook}")
    ended = pytester.runpytest_inprocess(
        *arguments, "-W", "error", plugins=(plugin,), no_reraise_ctrlc=True
    )
    done = SweepResult(ended, pytester.path)
    assert done.ret == pytest.ExitCode.INTERRUPTED, done.text
    assert "INTERNALERROR" not in done.text + done.errors
    if hook == "setup":
        assert done.events("trial_complete") == []
    else:
        judge("signal at the end of another plugin's wrapper", done, ["ok"])
        assert done.text.count("[1/3] ") == 1


@pytest.mark.parametrize(
    ("within", "outcome"), [("model_sweep.py", "timeout"), ("store/journal.py", "ok")]
)
def test_a_limit_that_is_reached_while_a_result_is_recorded_loses_nothing(
    sweep: SweepRun, judge: Judge, within: str, outcome: str
) -> None:
    done = sweep(plugins=(SignalWhileRecording(2, 0, signal.SIGALRM, within),))
    judge("time limit while a result is recorded", done, ["ok", outcome, "ok"])
    assert done.rows[1]["step_times_s"]
    assert done.ret == int(outcome != "ok")
    assert "INTERNALERROR" not in done.text


def test_a_worker_does_not_outlive_its_parent_and_the_journal_ends_in_whole_lines(
    tmp_path: Path, running: Running
) -> None:
    worker = worker_of(tmp_path)
    running.kill()
    running.wait()
    text = (tmp_path / "benchmark_log.jsonl").read_text()
    assert text.endswith("\n")
    assert all(json.loads(line)["event"] for line in text.splitlines())
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
        # The worker, its watchdog, and the two that the worker has left.
        wait_for(lambda: processes_with(*mark, but=running.pid) == 4)
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
