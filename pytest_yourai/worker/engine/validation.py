"""The loss on the validation set, by mlx-lm, always on the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mlx import nn
from mlx_lm.tuner.trainer import evaluate

from pytest_yourai.worker.engine.loop import EndOfLoop
from pytest_yourai.worker.protocol import TrainingRequest, Validated


def validate(
    model: nn.Module,
    rows: Any,
    request: TrainingRequest,
    step: int,
    should_stop: Callable[[], bool],
) -> Validated | None:
    """The loss after `step` steps; None without rows, or where `should_stop` cut it short."""
    if not len(rows) or request.parameters.val_batches == 0:
        return None

    def between_batches() -> None:
        if should_stop():
            raise EndOfLoop

    began = time.perf_counter()
    # The generator that mlx-lm's batches draw from.
    np.random.seed(request.parameters.seed)  # noqa: NPY002
    try:
        loss = evaluate(
            model=model,
            dataset=rows,
            batch_size=min(request.config.batch_size, len(rows)),
            num_batches=request.parameters.val_batches,
            max_seq_length=request.config.max_seq_length,
            progress_callback=between_batches,
        )
    except EndOfLoop:
        return None
    finally:
        model.train()
    return Validated(step, float(loss), time.perf_counter() - began)
