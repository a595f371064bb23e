from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SweepRun = Callable[..., "SweepResult"]


class SweepResult:
    """A finished pytest run: its output, and the files it left."""

    def __init__(self, result: pytest.RunResult, folder: Path) -> None:
        self.run = result
        self.ret = int(result.ret)
        self.stdout = result.stdout
        self.text = result.stdout.str()
        self.errors = result.stderr.str()
        self._folder = folder

    @property
    def profile(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "optimal_config.json").read_text())
        return found

    @property
    def has_profile(self) -> bool:
        return (self._folder / "optimal_config.json").exists()

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.profile["all_results"]
        return rows

    @property
    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows]

    @property
    def journal(self) -> list[dict[str, Any]]:
        text = (self._folder / "benchmark_log.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.journal if event["event"] == name]


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
        command = ["--yourai-model", model, "--yourai-steps", str(steps), *arguments]
        if matrix is not None:
            command += ["--yourai-matrix", matrix]
        if subprocess:
            return SweepResult(pytester.runpytest_subprocess(*command), pytester.path)
        done = pytester.runpytest_inprocess(*command, plugins=plugins)
        return SweepResult(done, pytester.path)

    return run
