"""The order in which mlx-lm trains batches, continued from any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from mlx_lm.tuner.datasets import CacheDataset
from mlx_lm.tuner.trainer import iterate_batches

from pytest_yourai.core.errors import DataError
from pytest_yourai.worker.engine.training_rows import Batch


class _AsGiven(CacheDataset):  # type: ignore[misc]  # mlx-lm is untyped
    """Pairs of tokens and prompt length: mlx-lm sorts by their lengths, which are all 2."""

    def __getitem__(self, idx: int) -> Any:
        return self._data[idx]


def in_order(seed: int, first_step: int) -> Callable[..., Iterator[Batch]]:
    """A replacement of mlx-lm's `iterate_batches`, which still makes each batch.

    The same batches in the same order as there under `np.random.seed(seed)`, from a generator of
    its own, which nothing else advances; the first `first_step` are skipped unread.
    """

    def iterate(
        dataset: Any, batch_size: int, max_seq_length: int, loop: bool, comm_group: Any
    ) -> Iterator[Batch]:
        batches = _batches(dataset, batch_size)
        random = np.random.RandomState(seed)
        step = 0
        while loop:
            order = random.permutation(len(batches))
            for place in order[max(0, first_step - step) :]:
                rows = _AsGiven([dataset[row] for row in batches[place]])
                yield next(iterate_batches(rows, batch_size, max_seq_length, comm_group=comm_group))
            step += len(batches)

    return iterate


def _batches(dataset: Any, batch_size: int) -> Sequence[Sequence[int]]:
    """The rows of each batch, as mlx-lm groups them."""
    if len(dataset) < batch_size:
        raise DataError(
            f"the data has {len(dataset)} rows, fewer than a batch of {batch_size}: add rows, or "
            "make --batch-size smaller"
        )
    length = getattr(dataset, "itemlen", lambda row: len(dataset[row][0]))
    order = sorted(range(len(dataset)), key=length)
    return [
        order[start : start + batch_size]
        for start in range(0, len(order) - batch_size + 1, batch_size)
    ]
