"""What cutting rows at a shorter max_seq_length would save, and how much of the data it costs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.step_time import StepTimes, step_times
from pytest_yourai.models.dataset_lengths import TrainingData

_MOST_CUT = 0.25
"""Share of the rows: an offer that cuts more is not one of the same data."""

_LEAST_SAVED = 0.05

_SHORTEST = 64

Needs = Callable[[LoraConfig], int | None]
"""Predicted minimum memory of a configuration in bytes; None where it cannot be predicted."""


@dataclass(frozen=True, slots=True)
class ShorterRows:
    """A shorter max_seq_length for the same configuration. Bytes, seconds and shares of 1.

    `instead_of_bytes` is the minimum memory as it is now, `needs_bytes` that of the offer, which
    was measured or is an estimate. Times of an epoch are None where no step was measured.
    """

    config: LoraConfig
    rows_cut: int
    share_of_rows: float
    share_of_tokens: float
    needs_bytes: int
    instead_of_bytes: int
    epoch_time_s: float | None = None
    instead_of_epoch_time_s: float | None = None
    is_measured: bool = False


def shorter_rows(
    data: TrainingData,
    config: LoraConfig,
    needs: Needs,
    measured: Mapping[LoraConfig, TrialResult] | None = None,
) -> list[ShorterRows]:
    """At most three offers, the longest rows first; none where shorter rows save little memory.

    Of more, the longest, the shortest and one between.
    What was `measured` comes before what `needs` predicts, which is corrected by the measured
    minimum of `config`.
    """
    found = measured or {}
    result = found.get(config)
    now, predicted = result and result.minimum_memory_bytes, needs(config)
    instead_of = now or predicted
    if instead_of is None:
        return []
    correction = instead_of / predicted if predicted else 1.0
    times = step_times(data, result) if result else None
    offers: list[ShorterRows] = []
    for length in _lengths(data, config.max_seq_length):
        shorter = dataclasses.replace(config, max_seq_length=length)
        trial = found.get(shorter)
        of_trial = trial.minimum_memory_bytes if trial and trial.success else None
        needed = of_trial or round((needs(shorter) or 0) * correction)
        least = offers[-1].needs_bytes if offers else instead_of
        if not needed or needed > least - _LEAST_SAVED * instead_of:
            continue
        cut = data.rows_over(length)
        offers.append(
            ShorterRows(
                config=shorter,
                rows_cut=cut,
                share_of_rows=cut / data.rows,
                share_of_tokens=data.tokens_over(length) / data.tokens,
                needs_bytes=needed,
                instead_of_bytes=instead_of,
                epoch_time_s=_epoch_time_s(data, times, shorter),
                instead_of_epoch_time_s=_epoch_time_s(data, times, config),
                is_measured=of_trial is not None,
            )
        )
    return [offers[place] for place in sorted({0, len(offers) // 2, len(offers) - 1}) if offers]


def _epoch_time_s(data: TrainingData, times: StepTimes | None, config: LoraConfig) -> float | None:
    if times is None:
        return None
    return times.of_all(data.widths(config.batch_size, config.max_seq_length))


def _lengths(data: TrainingData, now: int) -> Iterator[int]:
    """Powers of two and the halves between them that cut some rows, but not many; longest first."""
    longest = min(data.longest, now)
    powers = itertools.takewhile(lambda each: each >= _SHORTEST, _falling(longest))
    for length in powers:
        if data.rows_over(length) <= _MOST_CUT * data.rows:
            yield length


def _falling(longest: int) -> Iterator[int]:
    for exponent in range(longest.bit_length(), 0, -1):
        for length in (3 << exponent >> 1, 1 << exponent):
            if length < longest:
                yield length
