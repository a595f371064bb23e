from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep_runs import SweepResult, SweepRun


@pytest.fixture
def small_matrix(pytester: pytest.Pytester) -> Path:
    """Three configurations of tiny, lightest first: batch 1, 2 and 4."""
    path = pytester.path / "small.yaml"
    path.write_text("batch_size: [1, 2, 4]\nlora_rank: [4]\nlora_layers: [2]\n")
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
            return SweepResult(pytester.runpytest_subprocess(*command), pytester.path)
        done = pytester.runpytest_inprocess(*command, plugins=plugins)
        return SweepResult(done, pytester.path)

    return run


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB, v1 or v2, where this machine lets us make one."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = Path("/sys/fs/cgroup") / root / f"yourai-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text("100000000")
        except OSError:
            folder.rmdir()
            continue
        yield folder
        _remove_when_empty(folder)
        return
    pytest.skip("no memory cgroup can be made here")


def _remove_when_empty(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
