"""What is shown about training data, on the console and in the profile."""

from __future__ import annotations

import pytest

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.report.dataset_lines import data_lines, epoch_lines
from pytest_yourai.store.data_rows import data_object

DATA = TrainingData((20, 60, 80, 600, 20))
OK = TrialResult(
    "m", LoraConfig(2, 8, 4, 512), Outcome.OK, step_times_s=(1.0,), epoch_time_s=7500.0
)


def test_the_header_has_the_rows_their_lengths_and_what_is_cut() -> None:
    first, *bars, cut, blank = data_lines(DATA, {512})
    assert first == "Training data: 5 rows, 780 tokens; a row has 20 to 600, median 60"
    assert bars[0] == f"     17–24  {'█' * 30}  2"
    assert bars[-1] == f"  over 512  {'█' * 15}{' ' * 15}  1"
    assert cut == "  1 row of over 512 tokens is cut"
    assert blank == ""


def test_one_row_is_called_one() -> None:
    first, *_ = data_lines(TrainingData((5,)), {512})
    assert first == "Training data: 1 row, 5 tokens; a row has 5 to 5, median 5"
    _, padding, *_ = epoch_lines(TrainingData((5, 5)), OK)
    assert padding.endswith("; 1 padded shape, which compiles once")


def test_nothing_is_shown_for_made_up_rows() -> None:
    assert list(data_lines(None, {512})) == list(epoch_lines(None, OK)) == []
    assert data_object(None, [OK], Objective.SCORE) is None


def test_the_optimum_has_its_epoch() -> None:
    # Widths 65 and 512; the fifth row is in no batch.
    assert list(epoch_lines(DATA, OK)) == [
        "  Longest batch: 512 tokens, 1.0s a step",
        "  Padding:       41.7 % of an epoch; 2 padded shapes, each compiles once",
        "  Epoch:         about 2 h 05 min, 2 steps",
    ]


def test_the_profile_has_all_of_it() -> None:
    found = data_object(DATA, [OK], Objective.SCORE)
    assert found is not None
    histogram = found.pop("histogram")
    assert histogram[0] == {"from": 17, "to": 24, "rows": 2}
    assert histogram[-1] == {"from": 513, "to": None, "rows": 1}
    assert found == {
        "rows": 5,
        "tokens": 780,
        "shortest": 20,
        "median": 60,
        "longest": 600,
        "epochs": [
            {
                "batch_size": 2,
                "max_seq_length": 512,
                "rows_cut": 1,
                "batches": 2,
                "trained_tokens": 671,
                "padding_share": pytest.approx(1 - 671 / (2 * 64 + 2 * 511)),
                "padded_shapes": 2,
            }
        ],
        "rows_left_out": 0,
        "optimal_epoch_time_s": 7500.0,
        "shorter_rows": [],
    }


def test_of_several_lengths_each_says_what_it_cuts() -> None:
    *_, first, second, _ = data_lines(DATA, {512, 70})
    assert first == "  2 rows of over 70 tokens are cut"
    assert second == "  1 row of over 512 tokens is cut"
    shorter = TrialResult("m", LoraConfig(2, 8, 4, 70), Outcome.OVER_BUDGET)
    found = data_object(DATA, [OK, shorter], Objective.SCORE)
    assert found is not None
    assert [(each["max_seq_length"], each["rows_cut"]) for each in found["epochs"]] == [
        (70, 2),
        (512, 1),
    ]
