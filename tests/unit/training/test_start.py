"""What a run decides by validations is refused where it has none."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.errors import DataError
from pytest_yourai.training.start import check_validation
from pytest_yourai.worker.protocol import TrainingParameters


def parameters(**changes: Any) -> TrainingParameters:
    usual: dict[str, Any] = {
        "max_steps": 10,
        "save_every": 5,
        "steps_per_eval": 5,
        "val_batches": 25,
    }
    return TrainingParameters(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "data", "rows", "message"),
    [
        (
            {"keep": "best"},
            "/rows",
            0,
            (
                "--keep best needs validations, which /rows has no rows for: add a valid.jsonl, or "
                "leave --keep best out"
            ),
        ),
        ({"keep": "best"}, None, 0, "which made-up data has no rows for"),
        (
            {"patience": 3, "val_batches": 0},
            "/rows",
            9,
            (
                "--patience 3 needs validations, which --val-batches 0 leaves out: raise that, or "
                "leave --patience 3 out"
            ),
        ),
    ],
)
def test_it_is_refused_with_the_flag(
    changes: dict[str, Any], data: str | None, rows: int, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_validation(parameters(**changes), data, rows)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"keep": "both"}, {"val_batches": 0}])
def test_a_run_that_decides_nothing_by_them_needs_none(changes: dict[str, Any]) -> None:
    check_validation(parameters(**changes), "/rows", 0)
    check_validation(parameters(keep="best", patience=1), "/rows", 1)
