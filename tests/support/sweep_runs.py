"""What the `sweep` fixture of the integration tests gives."""

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
    def benchmark(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "benchmark_results.json").read_text())
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
