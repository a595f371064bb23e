"""What a profile says of its training data: lengths, epochs, and what shorter rows would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pydantic

from pytest_yourai.core.config import Objective
from pytest_yourai.core.ranking import best
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import GB
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.store.config_rows import ConfigRow, configuration
from pytest_yourai.store.schema import Amount, AxisValue, Count, Length, Row


class HistogramBar(Row):
    """Rows of training data of so many tokens; without an end for the longest."""

    start: Count = pydantic.Field(alias="from")
    end: Count | None = pydantic.Field(alias="to")
    rows: Count


class EpochRow(Row):
    """An epoch of training data in batches of one size, cut to one length."""

    batch_size: AxisValue
    max_seq_length: Length
    rows_cut: Count
    batches: Count
    trained_tokens: Count
    padding_share: Amount
    padded_shapes: Count


class ShorterRowsRow(ConfigRow):
    """The first answer with rows cut shorter: what that costs and saves. Shares are of 1."""

    rows_cut: Count
    rows_cut_share: Amount
    tokens_cut_share: Amount
    minimum_memory_gb: Amount
    instead_of_gb: Amount
    epoch_time_s: Amount | None = None
    instead_of_epoch_time_s: Amount | None = None
    is_measured: bool = False
    command: str | None = None

    @classmethod
    def from_offer(cls, offer: ShorterRows) -> Self:
        row: Self = cls.model_construct(
            **configuration(offer.config),
            rows_cut=offer.rows_cut,
            rows_cut_share=offer.share_of_rows,
            tokens_cut_share=offer.share_of_tokens,
            minimum_memory_gb=offer.needs_bytes / GB,
            instead_of_gb=offer.instead_of_bytes / GB,
            epoch_time_s=offer.epoch_time_s,
            instead_of_epoch_time_s=offer.instead_of_epoch_time_s,
            is_measured=offer.is_measured,
        )
        return row

    def to_offer(self) -> ShorterRows:
        return ShorterRows(
            config=self.config,
            rows_cut=self.rows_cut,
            share_of_rows=self.rows_cut_share,
            share_of_tokens=self.tokens_cut_share,
            needs_bytes=round(self.minimum_memory_gb * GB),
            instead_of_bytes=round(self.instead_of_gb * GB),
            epoch_time_s=self.epoch_time_s,
            instead_of_epoch_time_s=self.instead_of_epoch_time_s,
            is_measured=self.is_measured,
        )


class DataRow(Row):
    """Lengths of the rows of training data, in tokens; None where a file lacks them."""

    rows: Count | None = None
    tokens: Count | None = None
    shortest: Count | None = None
    median: Amount | None = None
    longest: Count | None = None
    histogram: list[HistogramBar] = pydantic.Field(default_factory=list)
    epochs: list[EpochRow] = pydantic.Field(default_factory=list)
    rows_left_out: Count | None = None
    """Rows that cannot be trained on, of training and validation data."""
    optimal_epoch_time_s: Amount | None = None
    """One pass over the data with the best configuration, by its measured steps."""
    shorter_rows: list[ShorterRowsRow] = pydantic.Field(default_factory=list)
    """What shorter rows would save, the longest first."""


def data_object(
    data: TrainingData | None,
    results: Sequence[TrialResult],
    objective: Objective,
    offers: Sequence[ShorterRows] = (),
) -> dict[str, Any] | None:
    """The profile's `data`; None where rows are made up. Lengths in tokens.

    The histogram is that of the largest max_seq_length; `offers` are shorter ones.
    """
    if data is None:
        return None
    optimum = best(results, objective)
    configs = [result.config for result in results]
    longest = max(config.max_seq_length for config in configs)
    batches = sorted({(config.batch_size, config.max_seq_length) for config in configs})
    return DataRow(
        rows=data.rows,
        tokens=data.tokens,
        shortest=data.shortest,
        median=data.median,
        longest=data.longest,
        histogram=[
            HistogramBar.model_validate({"from": bar.least, "to": bar.most, "rows": bar.rows})
            for bar in data.histogram(longest)
        ],
        epochs=[_epoch_row(data, *batch) for batch in batches],
        rows_left_out=data.left_out,
        optimal_epoch_time_s=optimum.epoch_time_s if optimum else None,
        shorter_rows=[ShorterRowsRow.from_offer(each) for each in offers],
    ).as_json()


def _epoch_row(data: TrainingData, batch_size: int, max_seq_length: int) -> EpochRow:
    epoch = data.epoch(batch_size, max_seq_length)
    return EpochRow(
        batch_size=batch_size,
        max_seq_length=max_seq_length,
        rows_cut=data.rows_over(max_seq_length),
        batches=epoch.batches,
        trained_tokens=epoch.trained_tokens,
        padding_share=epoch.padding_share,
        padded_shapes=epoch.padded_shapes,
    )
