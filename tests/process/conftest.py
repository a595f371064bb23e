from __future__ import annotations

import functools
import os
import subprocess as subprocesses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.sweep import preflight
from pytest_yourai.worker import watched_process

from support import faults, warm_worker, worker_faults
from support.faults import Judge
from support.processes import TESTS, SweepResult, SweepRun, put_on_path, run_pytest


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers answer from a script, unless the test or the user wants the real engine."""
    if request.config.getoption("--real-engine") or request.node.get_closest_marker("real_engine"):
        return
    put_on_path(monkeypatch, TESTS)
    monkeypatch.setenv("YOURAI_TEST_ENGINE", "support.scripted_engine:ScriptedEngine")
    if warm_worker.IS_POSSIBLE and "pytester" in request.fixturenames:
        monkeypatch.setattr(watched_process, "subprocess", warm_worker.warm_subprocess())


@pytest.fixture
def cold_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start as those of a user do."""
    monkeypatch.setattr(watched_process, "subprocess", subprocesses)


@pytest.fixture(autouse=True)
def _nothing_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test predicts from what it measures itself, and keeps it to itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def too_hopeful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is predicted to be over the budget, whatever it needs and its weights take."""
    monkeypatch.setattr(Prediction, "is_surely_over", lambda *_: False)
    monkeypatch.setattr(preflight, "too_heavy", lambda *_: None)


@pytest.fixture
def small_matrix(pytester: pytest.Pytester) -> Path:
    """Three configurations of tiny, lightest first: batch 1, 2 and 4."""
    path = pytester.path / "small.yaml"
    path.write_text("batch_size: [1, 2, 4]\nlora_rank: [4]\nlora_layers: [2]\nlora_keys: qkvo\n")
    return path


@pytest.fixture
def sweep(pytester: pytest.Pytester, small_matrix: Path) -> SweepRun:
    """Run pytest on tiny with few steps, in this process unless `subprocess` is set."""

    def run(
        *arguments: str,
        model: str = "tiny",
        matrix: str | None = "small.yaml",
        steps: int = 2,
        subprocess: bool = False,
        plugins: tuple[object, ...] = (),
    ) -> SweepResult:
        command = ["--yourai-model", model, *arguments]
        if "--yourai-steps" not in arguments:
            command += ["--yourai-steps", str(steps)]
        if matrix is not None:
            command += ["--yourai-matrix", matrix]
        if subprocess:
            return SweepResult(run_pytest(pytester.path, *command), pytester.path)
        done = pytester.runpytest_inprocess(*command, plugins=plugins)
        return SweepResult(done, pytester.path)

    return run


@pytest.fixture
def replayed(sweep: SweepRun) -> SweepRun:
    """The same of recorded trials, without a worker: for what pytest makes of them."""
    return functools.partial(sweep, f"--yourai-replay={TESTS / 'data' / 'tiny_small_matrix.json'}")


@pytest.fixture
def faulty_worker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Makes the next worker suffer what `worker_faults` knows."""

    def set_fault(fault: str) -> None:
        put_on_path(monkeypatch, TESTS)
        if "YOURAI_TEST_ENGINE" not in os.environ:
            monkeypatch.setenv("YOURAI_TEST_ENGINE", "support.faulty_engine:faulty_engine")
        monkeypatch.setenv(worker_faults.VARIABLE, fault)
        monkeypatch.setenv(worker_faults.DONE_VARIABLE, str(pytester.path / "fault-done"))
        monkeypatch.setenv(worker_faults.RELEASE_VARIABLE, str(pytester.path / "fault-released"))

    return set_fault


@pytest.fixture
def judge(record_property: Callable[[str, object], None]) -> Judge:
    """Fails where a fault was not classified right, or lost a result, or left a process."""

    def decide(fault: str, done: SweepResult, expected: Sequence[str]) -> None:
        faults.report(record_property, faults.judge(fault, done, expected))

    return decide


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Counts a fault at the end of a test that has seen what came of it."""

    def count(fault: str) -> None:
        faults.report(record_property, faults.Judgement(fault, right=True, lost=0, left=0))

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [
        report
        for name in ("passed", "failed")
        for report in terminalreporter.stats.get(name, ())
        if report.when == "call"
    ]
    if lines := faults.table(reports):
        terminalreporter.write_sep("=", "faults that were injected")
        for line in lines:
            terminalreporter.write_line(line)
