"""Lengths of training rows: how mlx-lm cuts, pads and batches them.

The rules are those of `mlx_lm.tuner.trainer.iterate_batches`, and are tested against it.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import pydantic

from pytest_yourai.core.figures import Count

_PADDED_TO = 32

_MOST_BARS = 8

_SURVEYED_AT = (5 / 6, 1 / 2, 1 / 6)

_LEAST_SURVEYED = 0.05


def padded_length(tokens: int, max_seq_length: int) -> int:
    """Width of mlx-lm's batch whose longest row has so many tokens: 32n + 1, or the maximum."""
    return min(1 + _PADDED_TO * -(-tokens // _PADDED_TO), max_seq_length)


@dataclass(frozen=True, slots=True)
class Epoch:
    """All batches that mlx-lm makes of the data, once. A remainder of rows is dropped.

    `positions` includes padding: a padded row of S tokens has S - 1. `padded_shapes` counts
    distinct shapes, each of which compiles once.
    """

    batches: int
    trained_tokens: int
    positions: int
    padded_shapes: int

    @property
    def padding_share(self) -> float:
        """Share of the positions that train nothing; 0 without a batch."""
        return 1 - self.trained_tokens / self.positions if self.positions else 0.0


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """Number of rows with `least` to `most` tokens; `most` is None without an upper bound."""

    least: int
    most: int | None
    rows: int


@dataclass(frozen=True)
class TrainingData:
    """Tokens of each row, in the order in which mlx-lm fills batches with them; at least one row.

    The order matters: mlx-lm 0.32.2 means to sort rows by length, but sorts its `CacheDataset` by
    the number of keys of each row, and so leaves most data as the file has it.
    """

    lengths: Annotated[tuple[Count, ...], pydantic.Field(min_length=1)]
    notes: tuple[str, ...] = ()
    """Sentences about rows that are left out, and about rows that are not trained on."""
    left_out: Count = 0
    """Rows that are left out, of training and validation data."""
    validation_rows: Count = 0

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def shortest(self) -> int:
        return self._longest_first[-1]

    @property
    def median(self) -> float:
        return statistics.median(self._longest_first)

    @property
    def longest(self) -> int:
        return self._longest_first[0]

    @functools.cached_property
    def _longest_first(self) -> list[int]:
        return sorted(self.lengths, reverse=True)

    def rows_over(self, max_seq_length: int) -> int:
        """Number of rows that mlx-lm cuts."""
        return sum(length > max_seq_length for length in self.lengths)

    def histogram(self, max_seq_length: int) -> tuple[HistogramBar, ...]:
        """At most eight bars of equal width, and one for the rows that are cut, if any."""
        uncut = [length for length in self.lengths if length <= max_seq_length]
        bars = _bars(uncut, max_seq_length) if uncut else []
        if cut := self.rows - len(uncut):
            bars.append(HistogramBar(max_seq_length + 1, None, cut))
        return tuple(bars)

    def tokens_over(self, max_seq_length: int) -> int:
        """Number of tokens that mlx-lm cuts off."""
        return sum(max(0, length - max_seq_length) for length in self.lengths)

    def widths(self, batch_size: int, max_seq_length: int) -> tuple[int, ...]:
        """Padded length of each batch of an epoch, in mlx-lm's order before it is shuffled."""
        return tuple(
            padded_length(max(batch), max_seq_length) for batch in self._batches(batch_size)
        )

    def longest_widths(self, batch_size: int, max_seq_length: int) -> tuple[int, ...]:
        """As `widths`, where rows in order of length make the batches, the longest first."""
        longest = self._longest_first[: max(0, self.rows - batch_size + 1) : batch_size]
        return tuple(padded_length(each, max_seq_length) for each in longest)

    def surveyed(self, batch_size: int, max_seq_length: int, measured: int) -> tuple[int, ...]:
        """Places in an epoch of at most three batches that stand for those shorter than measured.

        How fast these are, the `measured` longest batches do not show. They are at a sixth, a half
        and five sixths of the positions of all that are shorter; none where these have few.
        """
        least = min(self.longest_widths(batch_size, max_seq_length)[:measured], default=0)
        widths = self.widths(batch_size, max_seq_length)
        shorter = sorted((width, place) for place, width in enumerate(widths) if width < least)
        total = sum(width for width, _ in shorter)
        if total <= _LEAST_SURVEYED * sum(widths):
            return ()
        sums = list(itertools.accumulate(width for width, _ in shorter))
        chosen = (shorter[bisect.bisect_left(sums, share * total)] for share in _SURVEYED_AT)
        return tuple({width: place for width, place in chosen}.values())  # noqa: C416 - one a width

    def epoch(self, batch_size: int, max_seq_length: int) -> Epoch:
        """One pass over the data; it has no batches if there are fewer rows than in one."""
        widths = self.widths(batch_size, max_seq_length)
        # mlx-lm's mask has one position for each token: the last predicts the first padding.
        trained = sum(
            min(length, width - 1)
            for width, batch in zip(widths, self._batches(batch_size), strict=True)
            for length in batch
        )
        positions = batch_size * sum(width - 1 for width in widths)
        return Epoch(len(widths), trained, positions, len(set(widths)))

    def _batches(self, size: int) -> Iterator[tuple[int, ...]]:
        """The lengths of each batch; a remainder of rows is dropped."""
        starts = range(0, self.rows - size + 1, size)
        return (self.lengths[start : start + size] for start in starts)


def _bars(lengths: Sequence[int], most: int) -> list[HistogramBar]:
    shortest, longest = min(lengths), max(lengths)
    width = next(
        width
        for width in _widths()
        if (longest - 1) // width - (shortest - 1) // width < _MOST_BARS
    )
    counts = Counter((length - 1) // width for length in lengths)
    return [
        HistogramBar(place * width + 1, min((place + 1) * width, most), counts[place])
        for place in range(min(counts), max(counts) + 1)
    ]


def _widths() -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, and so on."""
    yield 1
    for power in itertools.count(1):
        yield 2**power
        yield 2**power + 2 ** (power - 1)
