"""mlx-lm's training loop: a report after each step, ended by its callback, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, train

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.worker.engine.dataset import Batch

_NEVER = 1 << 62


class EndOfLoop(Exception):  # noqa: N818 - it ends mlx-lm's loop, nothing failed
    """Raised by the callback after the last step, so that mlx-lm writes no adapters."""


def run_loop(
    model: nn.Module,
    optimizer: Optimizer,
    rows: Any,
    config: LoraConfig,
    most_steps: int,
    iterate_batches: Callable[..., Iterator[Batch]],
    callback: TrainingCallback,
) -> None:
    """Train until `callback` raises EndOfLoop, which it must do within `most_steps`.

    `rows` is a data set as `iterate_batches` takes it. Raises whatever MLX and the callback raise.
    """
    try:
        train(
            model=model,
            optimizer=optimizer,
            train_dataset=rows,
            args=TrainingArgs(
                batch_size=config.batch_size,
                iters=most_steps,
                steps_per_report=1,
                steps_per_save=_NEVER,
                max_seq_length=config.max_seq_length,
                grad_checkpoint=config.grad_checkpoint,
            ),
            iterate_batches=iterate_batches,
            training_callback=callback,
        )
    except EndOfLoop:
        return
    finally:
        # On Metal a failed command buffer is raised at the next synchronization: here, not in
        # what follows.
        mx.synchronize()
    raise RuntimeError("mlx-lm ended training by itself")
