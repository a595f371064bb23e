"""Training rows, and the longest batches of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.tuner.datasets import CacheDataset
from mlx_lm.tuner.trainer import iterate_batches

from pytest_yourai.models.dataset_lengths import TrainingData

Batch = tuple[mx.array, mx.array]
"""Tokens, (batch_size, padded length), and for each row where training begins and ends."""


class TrainingRows:
    """Training rows as mlx-lm reads them. Tokens are kept only of rows that were in a batch."""

    def __init__(self, rows: Any, lengths: Sequence[int]) -> None:
        """`rows` is one of mlx-lm's data sets, `lengths` the tokens of each row."""
        self.cached = CacheDataset(rows)
        self._lengths = lengths
        self._longest_first = sorted(
            range(len(lengths)), key=lambda row: lengths[row], reverse=True
        )

    def summary(self) -> TrainingData:
        """The lengths, in the order in which mlx-lm fills its batches."""
        return TrainingData(tuple(self._lengths[row] for row in self._in_order))

    @functools.cached_property
    def _in_order(self) -> list[int]:
        return sorted(range(len(self._lengths)), key=self.cached.itemlen)

    def longest_batches(
        self, most: int, batch_size: int, max_seq_length: int, comm_group: Any = None
    ) -> list[Batch]:
        """At most `most` batches of rows in order of length, the longest first.

        mlx-lm pads and cuts each; it raises ValueError where there are too few rows for one.
        """
        starts = range(0, max(1, len(self._lengths) - batch_size + 1), batch_size)[:most]
        chosen = (self._longest_first[start : start + batch_size] for start in starts)
        return [self._batch(rows, batch_size, max_seq_length, comm_group) for rows in chosen]

    def surveyed_batches(
        self, measured: int, batch_size: int, max_seq_length: int, comm_group: Any = None
    ) -> list[Batch]:
        """Batches of an epoch that stand for those shorter than the `measured` longest ones."""
        places = self.summary().surveyed(batch_size, max_seq_length, measured)
        starts = (place * batch_size for place in places)
        chosen = (self._in_order[start : start + batch_size] for start in starts)
        return [self._batch(rows, batch_size, max_seq_length, comm_group) for rows in chosen]

    def _batch(
        self, chosen: Sequence[int], batch_size: int, max_seq_length: int, comm_group: Any
    ) -> Batch:
        rows = [self.cached[row] for row in chosen]
        batches = iterate_batches(rows, batch_size, max_seq_length, comm_group=comm_group)
        found: Batch = next(batches)
        return found
