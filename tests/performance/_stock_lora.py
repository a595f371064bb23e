"""`mlx_lm.lora` through its own entry point, in a process of its own, with each step kept.

python _stock_lora.py RESULT.json FREE_STEPS [arguments of mlx_lm.lora]

After FREE_STEPS steps MLX's memory limit is one byte, so that the peaks of the steps that follow
are what a step needs. Nothing else of mlx-lm is changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import lora
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK, TrainingCallback


class _Keep(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self, free_steps: int) -> None:
        self._free_steps = free_steps
        self.found: dict[str, list[float]] = {"step_times_s": [], "losses": [], "peaks_bytes": []}

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.found["step_times_s"].append(1 / train_info["iterations_per_second"])
        self.found["losses"].append(train_info["train_loss"])
        self.found["peaks_bytes"].append(mx.get_peak_memory())
        if train_info["iteration"] >= self._free_steps:
            mx.set_memory_limit(1)
        mx.reset_peak_memory()


def main() -> None:
    result, free_steps, *arguments = sys.argv[1:]
    keep = _Keep(int(free_steps))
    SUPPORT_CALLBACK["keep"] = lambda **_: keep
    sys.argv = ["mlx_lm.lora", *arguments, "--report-to", "keep", "--steps-per-report", "1"]
    lora.main()
    Path(result).write_text(json.dumps(keep.found))


if __name__ == "__main__":
    main()
