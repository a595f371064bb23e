"""`mlx_lm.lora` through its own entry point, in a process of its own, with each step kept.

bootstrap.py worker.engine.stock_lora RESULT FREE_STEPS STEPS_IN_TURN FOLDER [ARGUMENTS of it]

The last STEPS_IN_TURN of the FREE_STEPS take turns with those of another process, through pipes in
FOLDER. After them MLX's memory limit is one byte, so that the peaks of the steps that follow are
what a step needs. What is freed stays with the process, as in our worker: whether glibc gives it
back in each step is chance, and costs 2 ms. Nothing else of mlx-lm is changed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import lora
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK, TrainingCallback

from pytest_yourai.worker.freed_memory import keep_freed_memory
from pytest_yourai.worker.turns import Turns


class _Keep(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self, free_steps: int, steps_in_turn: int, folder: Path) -> None:
        self._free_steps, self._steps_in_turn = free_steps, steps_in_turn
        self._turns = Turns(folder, "stock") if steps_in_turn else None
        self.found: dict[str, list[float]] = {"step_times_s": [], "losses": [], "peaks_bytes": []}

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.found["step_times_s"].append(1 / train_info["iterations_per_second"])
        self.found["losses"].append(train_info["train_loss"])
        self.found["peaks_bytes"].append(mx.get_peak_memory())
        if self._turns is not None:
            self._take_turns(self._turns, self._free_steps - train_info["iteration"])
        if train_info["iteration"] >= self._free_steps:
            mx.set_memory_limit(1)
        mx.reset_peak_memory()

    def _take_turns(self, turns: Turns, steps_left: int) -> None:
        if steps_left == self._steps_in_turn:
            turns.meet()
        elif steps_left == 0:
            turns.end()
        elif turns.have_met:
            turns.give()


def _end_with_parent() -> None:
    """End this process when its stdin, a pipe of its parent, is closed."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    result, free_steps, steps_in_turn, folder, *arguments = sys.argv[1:]
    _end_with_parent()
    keep_freed_memory()
    keep = _Keep(int(free_steps), int(steps_in_turn), Path(folder))
    SUPPORT_CALLBACK["keep"] = lambda **_: keep
    sys.argv = ["mlx_lm.lora", *arguments, "--report-to", "keep", "--steps-per-report", "1"]
    lora.main()
    Path(result).write_text(json.dumps(keep.found), encoding="utf-8")
