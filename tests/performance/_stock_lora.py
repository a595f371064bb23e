"""`mlx_lm.lora` through its own entry point, in a process of its own, with each step kept.

python _stock_lora.py RESULT.json [arguments of mlx_lm.lora]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import lora
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK, TrainingCallback

_step_times_s: list[float] = []


class _Keep(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self, **_: Any) -> None:
        pass

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        _step_times_s.append(1 / train_info["iterations_per_second"])


def main() -> None:
    result = Path(sys.argv[1])
    SUPPORT_CALLBACK["keep"] = _Keep
    sys.argv = ["mlx_lm.lora", *sys.argv[2:], "--report-to", "keep", "--steps-per-report", "1"]
    lora.main()
    found = {"step_times_s": _step_times_s, "peak_memory_bytes": mx.get_peak_memory()}
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
