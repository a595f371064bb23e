"""Ctrl-C, and a parent that is gone: the worker ends, and what is known stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = (sys.executable, "-m", "pytest", "--yourai-model", "tiny", "--yourai-matrix")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep in its second of three trials, which would run for minutes."""
    matrix = tmp_path / "m.yaml"
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    matrix.write_text("batch_size: [1, 64, 128]\nlora_rank: [4]\nlora_layers: [2]\n")
    process = subprocess.Popen(
        [*COMMAND, str(matrix), "--yourai-steps", "200"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: starts_in(tmp_path) >= 2)
    time.sleep(0.5)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_for(condition: object, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def starts_in(folder: Path) -> int:
    journal = folder / "benchmark_log.jsonl"
    return journal.read_text().count('"trial_start"') if journal.exists() else 0


def worker_of(folder: Path) -> psutil.Process:
    events = [
        json.loads(line) for line in (folder / "benchmark_log.jsonl").read_text().splitlines()
    ]
    return psutil.Process([e["pid"] for e in events if e["event"] == "subprocess_spawned"][-1])


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_ends_the_worker_and_keeps_what_is_known(
    tmp_path: Path, running: subprocess.Popen[str], sent: signal.Signals
) -> None:
    worker = worker_of(tmp_path)
    running.send_signal(sent)
    output, _ = running.communicate(timeout=30)
    assert running.returncode == pytest.ExitCode.INTERRUPTED
    assert is_gone(worker)
    assert "Incomplete: 1 of 3 configurations" in output
    assert "Optimal Configuration Found" in output
    assert "warning" not in output
    assert "Traceback" not in output
    profile = json.loads((tmp_path / "optimal_config.json").read_text())
    assert profile["complete"] is False
    assert [row["outcome"] for row in profile["all_results"]] == ["ok"]
    last = json.loads((tmp_path / "benchmark_log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["complete"]) == ("benchmark_complete", False)


def test_a_worker_does_not_outlive_its_parent(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    worker = worker_of(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    wait_for(lambda: is_gone(worker), timeout_s=2)
    rows = [
        json.loads(line) for line in (tmp_path / "benchmark_log.jsonl").read_text().splitlines()
    ]
    assert [row["outcome"] for row in rows if row["event"] == "trial_complete"] == ["ok"]
