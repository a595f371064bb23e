from __future__ import annotations

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
