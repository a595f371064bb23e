"""What lengths say of an epoch; tests/engine/test_dataset.py holds it against mlx-lm itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_yourai.models.dataset_lengths import Epoch, HistogramBar, TrainingData, padded_length

LENGTHS = st.lists(st.integers(2, 3000), min_size=1, max_size=60)


def test_statistics() -> None:
    data = TrainingData((40, 10, 30, 600))
    assert (data.rows, data.tokens) == (4, 680)
    assert (data.shortest, data.median, data.longest) == (10, 35, 600)
    assert (data.rows_over(599), data.rows_over(600)) == (1, 0)


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [(2, 512, 33), (32, 512, 33), (33, 512, 65), (511, 512, 512), (900, 512, 512), (5, 20, 20)],
)
def test_padding_goes_to_32n_plus_1_or_the_limit(tokens: int, limit: int, expected: int) -> None:
    assert padded_length(tokens, limit) == expected


def test_an_epoch_keeps_the_order_and_drops_the_remainder() -> None:
    # Widths 65 and 101 (cut); the last row is in no batch.
    epoch = TrainingData((10, 40, 500, 20, 90)).epoch(2, 101)
    assert epoch == Epoch(
        batches=2, trained_tokens=10 + 40 + 100 + 20, positions=2 * 64 + 2 * 100, padded_shapes=2
    )
    assert epoch.padding_share == pytest.approx(1 - 170 / 328)


def test_fewer_rows_than_a_batch_make_no_epoch() -> None:
    epoch = TrainingData((10, 20)).epoch(4, 64)
    assert (epoch.batches, epoch.positions, epoch.padding_share) == (0, 0, 0)


def test_widths_are_those_of_batches_in_order_or_longest_first() -> None:
    data = TrainingData((10, 40, 500, 20, 90))
    assert data.widths(2, 101) == (65, 101)
    assert data.widths(6, 101) == ()
    assert data.longest_widths(2, 101) == (101, 65)
    assert data.longest_widths(1, 1000) == (513, 97, 65, 33, 33)


def test_a_survey_has_three_batches_that_are_shorter_than_measured() -> None:
    # 900 and 800 are measured; of the positions of the others a half are in rows of 97 at most.
    data = TrainingData((30, *(200,) * 5, 900, *(90,) * 20, 800, *(30,) * 20))
    widths = data.widths(1, 1024)
    places = data.surveyed(1, 1024, 2)
    assert [widths[place] for place in places] == [225, 97, 33]
    assert data.surveyed(1, 1024, 47) == ()


def test_a_survey_leaves_out_what_is_measured_and_what_takes_no_time() -> None:
    assert TrainingData((500,) * 50).surveyed(2, 512, 10) == ()
    assert TrainingData((500,) * 50 + (20, 20)).surveyed(2, 512, 10) == ()
    assert TrainingData((500, 20)).surveyed(4, 512, 10) == ()
    equal = TrainingData((500,) * 10 + (50,) * 500)
    assert [equal.widths(1, 512)[place] for place in equal.surveyed(1, 512, 10)] == [65]


def test_tokens_over_a_length_are_cut_off() -> None:
    assert TrainingData((10, 40, 500)).tokens_over(30) == 10 + 470


def test_bars_are_of_equal_width_and_what_is_cut_has_its_own() -> None:
    bars = TrainingData((5, 64, 65, 300, 512, 513, 9000)).histogram(512)
    assert bars[0] == HistogramBar(1, 64, 2)
    assert bars[1] == HistogramBar(65, 128, 1)
    assert bars[4] == HistogramBar(257, 320, 1)
    assert bars[-2:] == (HistogramBar(449, 512, 1), HistogramBar(513, None, 2))
    assert TrainingData((700,)).histogram(512) == (HistogramBar(513, None, 1),)


@given(LENGTHS, st.integers(2, 2048))
def test_every_row_is_in_one_bar(lengths: list[int], limit: int) -> None:
    bars = TrainingData(tuple(lengths)).histogram(limit)
    assert 1 <= len(bars) <= 9
    for bar in bars:
        inside = [each for each in lengths if bar.least <= each <= (bar.most or max(lengths))]
        assert bar.rows == len(inside)
    assert sum(bar.rows for bar in bars) == len(lengths)
