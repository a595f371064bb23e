"""Whether weights still give a finite loss, where the last batches of a run were skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from mlx import nn
from mlx_lm.tuner.trainer import default_loss

from pytest_yourai.worker.engine.training_rows import Batch


class LastValidBatch:
    """The last batch with a finite loss: with later ones skipped, it shows if weights are sound."""

    def __init__(self) -> None:
        self._trained: Batch | None = None
        self._valid: Batch | None = None
        self._are_skipped = False

    def watching(
        self, iterate_batches: Callable[..., Iterator[Batch]]
    ) -> Callable[..., Iterator[Batch]]:
        """`iterate_batches`, of which each batch is noted as it is trained."""

        def iterate(**arguments: Any) -> Iterator[Batch]:
            for batch in iterate_batches(**arguments):
                self._trained = batch
                yield batch

        return iterate

    def note(self, *, is_valid: bool) -> None:
        """The loss of the batch that was trained is finite, or it was skipped."""
        self._are_skipped = not is_valid
        if is_valid:
            self._valid = self._trained

    def weights_are_sound(self, model: nn.Module) -> bool:
        """False if the last update broke the weights; asks the model only after skipped batches."""
        if not self._are_skipped or self._valid is None:
            return True
        loss, _ = default_loss(model, *self._valid)
        return math.isfinite(loss.item())
