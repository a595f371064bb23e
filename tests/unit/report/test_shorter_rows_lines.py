"""What shorter rows save, in words."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.report.shorter_rows_lines import shorter_rows_text

OFFER = ShorterRows(
    LoraConfig(1, 8, 4, 512), 3, 0.03, 0.0123, needs_bytes=8_600_000_000,
    instead_of_bytes=14_100_000_000,
)  # fmt: skip


def test_cuts_and_memory_are_in_one_line() -> None:
    assert shorter_rows_text(OFFER) == (
        "512: 3 % of rows cut (1.2 % of tokens), needs 8.6 instead of 14.1 GB, by estimate"
    )


def test_shares_near_the_whole_are_written_out() -> None:
    much = dataclasses.replace(OFFER, share_of_rows=1.0, share_of_tokens=0.997)
    assert "100 % of rows cut (100 % of tokens)" in shorter_rows_text(much)


def test_the_epoch_is_in_it_where_it_differs() -> None:
    timed = dataclasses.replace(
        OFFER, epoch_time_s=40.0, instead_of_epoch_time_s=54.0, is_measured=True
    )
    assert shorter_rows_text(timed).endswith(", an epoch about 40 s instead of 54 s, measured")
    same = dataclasses.replace(timed, epoch_time_s=53.9)
    assert "epoch" not in shorter_rows_text(same)
