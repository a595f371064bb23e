"""Runs `mlx_lm.lora` with its own arguments, and writes when its reports came.

python _stock_pace.py RESULT ARGUMENTS...

Apart from a look at the clock ten steps apart it is stock mlx-lm.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlx_lm.lora
from mlx_lm.tuner.callbacks import TrainingCallback


class _Clock(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.seen[int(train_info["iteration"])] = time.perf_counter()


def main() -> None:
    clock = _Clock()
    # mlx-lm's own `run` leaves out the callback that it is given.
    mlx_lm.lora.get_reporting_callbacks = lambda *_, **__: clock
    result, *sys.argv[1:] = sys.argv[1:]
    mlx_lm.lora.main()
    Path(result).write_text(json.dumps(clock.seen))


if __name__ == "__main__":
    main()
