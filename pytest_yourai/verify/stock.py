"""`mlx_lm.lora` in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.worker.process import engine_command, worker_environment

_RECIPE = "stock.yaml"

_RESULT = "stock.json"


@dataclass(frozen=True, slots=True)
class StockSteps:
    """All steps of one run, in order."""

    step_times_s: list[float]
    losses: list[float]
    peaks_bytes: list[int]


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write what `mlx_lm.lora --config` takes, without keys that are None."""
    kept = {key: value for key, value in recipe.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


class StockRun:
    """`mlx_lm.lora -c` with `recipe` in `folder`, started by this, and ended by leaving it.

    Its last `steps_in_turn` free steps take turns through the pipes in `folder`; then come
    `limited_steps` under a memory limit of one byte. WorkerError where it cannot be started.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        *,
        free_steps: int,
        steps_in_turn: int = 0,
        limited_steps: int = 0,
    ) -> None:
        self._folder = folder
        steps = free_steps + limited_steps
        more = {"iters": steps, "save_every": steps + 1, "adapter_path": "stock"}
        write_recipe(folder / _RECIPE, {**recipe, **more})
        (folder / _RESULT).unlink(missing_ok=True)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is left
        numbers = (str(free_steps), str(steps_in_turn), str(folder))
        try:
            self._process = subprocess.Popen(
                engine_command("worker.engine.stock_lora", _RESULT, *numbers, "-c", _RECIPE),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                env=worker_environment(os.environ),
                # As our worker: Linux shares the processor out by sessions.
                start_new_session=True,
            )
        except OSError as problem:
            raise WorkerError(f"mlx_lm.lora cannot be started: {problem}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.close()

    def check(self) -> None:
        """WorkerError where it has ended with an error."""
        if self._process.poll():
            raise WorkerError(f"mlx_lm.lora ended with {self._process.returncode}: {self._said()}")

    def steps(self, timeout_s: float) -> StockSteps:
        """Wait for its end; WorkerError where it fails, or does not end."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise WorkerError(f"mlx_lm.lora had no end after {timeout_s:g} s") from None
        self.check()
        found = json.loads((self._folder / _RESULT).read_bytes())
        return StockSteps(**found)

    def _said(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return screen_line(lines[-1]) if lines else "it printed nothing"
