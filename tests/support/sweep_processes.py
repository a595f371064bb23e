"""Sweeps in processes of their own, for tests that end them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

MATRIX = "batch_size: [1, 2, 4]\nlora_rank: [4]\nlora_layers: [2]\n"


def start_sweep(
    folder: Path,
    *arguments: str,
    matrix: str = MATRIX,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """A sweep of tiny in `folder`, warnings being errors."""
    (folder / "m.yaml").write_text(matrix)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "--yourai-model=tiny", "--yourai-matrix=m.yaml"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 120) -> str:
    """Its whole output, once it has ended."""
    output, _ = process.communicate(timeout=timeout_s)
    return output


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / "benchmark_log.jsonl"
    if not path.exists():
        return []
    whole_lines = path.read_text().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole_lines]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in journal(folder) if event["event"] == name]


def profile(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "optimal_config.json").read_text())
    return found


def outcomes(folder: Path) -> list[str]:
    return [row["outcome"] for row in profile(folder)["all_results"]]


def worker_pids(folder: Path) -> set[int]:
    return {event["pid"] for event in events(folder, "subprocess_spawned")}


def worker_of(folder: Path) -> psutil.Process:
    return psutil.Process(events(folder, "subprocess_spawned")[-1]["pid"])


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
