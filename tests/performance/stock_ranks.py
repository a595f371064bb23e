"""What mlx-lm's own `train` takes alone and on several GPUs, without this project's code.

python tests/performance/stock_ranks.py [--gpus 1,2,4] [--backend nccl] [--batch 4]

llama-8b in 4 bits with weights of zeros, rows of 512 tokens, rank 16 on 16 layers; each GPU has the
same batch. With MLX's memory cache, without it, and where no gradients are summed. For CUDA.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

LAUNCH = "from mlx._distributed_utils.launch import main; main()"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": 128256,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
KEYS = [f"self_attn.{name}_proj" for name in "qkvo"]
TOKENS = 512
LAYERS = 16
UPDATES = 14
WARM_UP = 4
MOST_S = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="1,2,4")
    parser.add_argument("--backend", default="nccl")
    parser.add_argument("--batch", type=int, default=4)
    asked = parser.parse_args()
    if "MLX_RANK" in os.environ:
        run_rank(asked.backend, asked.batch)
        return
    own = ["python3", __file__, f"--backend={asked.backend}", f"--batch={asked.batch}"]
    for gpus in map(int, asked.gpus.split(",")):
        if gpus == 1:
            alone = {**os.environ, "MLX_RANK": "-1"}
            subprocess.run([sys.executable, *own[1:]], check=True, env=alone, timeout=MOST_S)
            continue
        launched = [sys.executable, "-c", LAUNCH, "-n", str(gpus), "--backend", asked.backend]
        subprocess.run([*launched, "--", *own], check=True, timeout=MOST_S)


def run_rank(backend: str, batch: int) -> None:
    """Train three times, and print the median times of a step."""
    rank = int(os.environ["MLX_RANK"])
    os.environ["CUDA_VISIBLE_DEVICES"] = str(max(rank, 0))
    import mlx.core as mx  # noqa: PLC0415 - sees the GPU that the line above chose
    from mlx_lm.tuner import trainer  # noqa: PLC0415

    # NCCL's group refuses the CPU's stream, on which mlx-lm sums its losses.
    plain = mx.distributed.all_sum
    mx.distributed.all_sum = lambda x, **_: plain(x)
    world_size = mx.distributed.init(backend=backend).size() if rank >= 0 else 1
    train = _training(batch * world_size)
    found = {"with cache": train()}
    if world_size > 1:
        average, trainer.average_gradients = trainer.average_gradients, lambda each: each
        found["without sums"] = train()
        trainer.average_gradients = average
    mx.set_cache_limit(0)
    found["without cache"] = train()
    if rank <= 0:
        times = ", ".join(f"{name} {time_s * 1e3:.0f} ms" for name, time_s in found.items())
        print(f"{world_size} × batch {batch}, a step takes: {times}", flush=True)


def _training(batch: int) -> Callable[[], float]:
    """What trains for a few updates, and returns the median time of a step in seconds."""
    import mlx.core as mx  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from mlx import nn, optimizers  # noqa: PLC0415
    from mlx.utils import tree_map  # noqa: PLC0415
    from mlx_lm.models.llama import Model, ModelArgs  # noqa: PLC0415
    from mlx_lm.tuner.trainer import TrainingArgs, train  # noqa: PLC0415
    from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: PLC0415

    model = Model(ModelArgs.from_dict(CONFIG))
    model.update(tree_map(lambda each: mx.zeros(each.shape, mx.bfloat16), model.parameters()))
    nn.quantize(model, 64, 4)
    mx.eval(model.parameters())
    model.freeze()
    lora = {"rank": 16, "scale": 20.0, "dropout": 0.0, "keys": KEYS}
    linear_to_lora_layers(model, LAYERS, lora)
    drawn = np.random.default_rng(0).integers(0, 1000, (256, TOKENS)).tolist()
    arguments = TrainingArgs(
        batch_size=batch,
        iters=UPDATES,
        val_batches=0,
        steps_per_report=1,
        steps_per_eval=10**6,
        steps_per_save=10**6,
        max_seq_length=TOKENS,
        adapter_file=f"{tempfile.mkdtemp()}/adapters.safetensors",
    )

    def run() -> float:
        clock = _Clock()
        with contextlib.redirect_stdout(io.StringIO()):
            optimizer = optimizers.Adam(learning_rate=1e-5)
            train(model, optimizer, _Rows(drawn), None, arguments, training_callback=clock)
        return clock.step_time_s()

    return run


class _Rows:
    """Rows as mlx-lm takes them: tokens, and where training on them begins."""

    def __init__(self, rows: Sequence[list[int]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[list[int], int]:
        return self._rows[place], 0


class _Clock:
    def __init__(self) -> None:
        self._seen: list[float] = []

    def on_train_loss_report(self, _: dict[str, Any]) -> None:
        self._seen.append(time.perf_counter())

    def on_val_loss_report(self, _: dict[str, Any]) -> None: ...

    def step_time_s(self) -> float:
        pairs = zip(self._seen[WARM_UP:], self._seen[WARM_UP + 1 :], strict=False)
        return statistics.median(later - earlier for earlier, later in pairs)


if __name__ == "__main__":
    main()
