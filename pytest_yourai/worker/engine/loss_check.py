"""Whether a loss can be that of a training that works."""

from __future__ import annotations

import math

from pytest_yourai.core.errors import DataError
from pytest_yourai.worker.protocol import (
    InvalidLossError,
    TrainedStep,
)

_ALMOST_LEARNED = 0.05
"""A loss after which 0 is plausible."""


def check_loss(trained: TrainedStep, last_loss: float, skipped: int = 0) -> None:
    """InvalidLossError, or DataError where there was nothing to learn from.

    A failing GPU may return zeros; but in bfloat16 rows learned by heart have a loss of 0.
    `skipped` batches had an invalid loss before.
    """
    if not trained.tokens:
        raise DataError(
            "a batch has no token to train: its prompts, which --mask-prompt leaves out, are as "
            "long as --seq-length; shorten them, or make it longer"
        )
    is_sudden = trained.loss == 0 and last_loss > _ALMOST_LEARNED
    if is_sudden or not math.isfinite(trained.loss):
        before = f" after {skipped} skipped batches" if skipped else ""
        raise InvalidLossError(f"the loss was {trained.loss}{before}")
