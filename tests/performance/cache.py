"""Is training faster where MLX's cache is cleared more rarely, and what does it hold then?

python tests/performance/cache.py [--model tiny] [--batch-size 4] [--steps 60] [--limit-gb 8]

mlx-lm clears the cache of freed buffers after every step. This trains the same steps with that,
and with thresholds under which the cache is left alone, interleaved: wall time a step, MLX's peak,
and the footprint (on CUDA the device's use) at the end of a step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import optimizers
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, train
from mlx_lm.tuner.utils import linear_to_lora_layers

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import device, trial, weights
from pytest_yourai.worker.engine.adapted_modules import matching_lora_keys

from _common import table

WARMUP = 5
SHARES = (0.0, 0.1, 1.0)
"""Of the memory limit: what the cache may hold before it is cleared."""


class Clock(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self) -> None:
        self.ends: list[float] = []
        self.peak = self.cache = self.footprint = 0

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.ends.append(time.perf_counter())
        self.peak = max(self.peak, mx.get_peak_memory())
        self.cache = max(self.cache, mx.get_cache_memory())
        self.footprint = max(self.footprint, device.in_use_bytes() or 0)
        mx.reset_peak_memory()


def run(
    model: Any, rows: Any, config: LoraConfig, steps: int, threshold: int, adapters: Path
) -> Clock:
    clock = Clock()
    mx.clear_cache()
    train(
        model=model,
        optimizer=optimizers.Adam(learning_rate=1e-5),
        train_dataset=rows,
        args=TrainingArgs(
            batch_size=config.batch_size,
            iters=steps + WARMUP,
            steps_per_report=1,
            steps_per_save=1 << 30,
            max_seq_length=config.max_seq_length,
            adapter_file=str(adapters / "adapters.safetensors"),
            clear_cache_threshold=threshold,
        ),
        training_callback=clock,
    )
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--limit-gb", type=float, default=8.0)
    asked = parser.parse_args()
    found = resolve(asked.model, Path(asked.model), "synthetic", read_presets(packaged_models()))
    config = LoraConfig(asked.batch_size, 16, 16, found.default_max_seq_length)
    source = ModelSource(
        name=found.name,
        architecture=found.architecture,
        folder=None,
        synthetic=True,
        quantization=found.quantization(None),
        lora_keys=(config.lora_keys,),
    )
    model = weights.load(source)
    keys = matching_lora_keys(model, source)[config.lora_keys]
    layers = min(config.num_layers, len(model.layers))
    linear_to_lora_layers(model, layers, MLX_LM_DEFAULTS.lora_parameters(config, keys))
    limit = asked.limit_gb * 1e9 / SAFETY_MARGIN
    mx.set_memory_limit(int(limit))
    rows = trial.synthetic_rows(model, config, 0)
    lines = []
    for share in (*SHARES, *SHARES):
        with tempfile.TemporaryDirectory() as name:
            clock = run(model, rows, config, asked.steps, int(share * limit), Path(name))
        times = [b - a for a, b in zip(clock.ends[WARMUP:], clock.ends[WARMUP + 1 :], strict=False)]
        lines.append(
            (f"{share:.0%} of the limit", f"{statistics.median(times) * 1e3:.2f} ms")
            + tuple(f"{each / 1e6:,.1f} MB" for each in (clock.peak, clock.cache, clock.footprint))
        )
    table(("cleared over", "step", "peak", "cache", "footprint"), lines)


if __name__ == "__main__":
    main()
