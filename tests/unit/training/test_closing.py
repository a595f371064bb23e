"""The last lines of a run: which adapters are where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.supervisor import BestAdapters, TrainingOutcome
from pytest_yourai.training.train import _closing

from support.training import asked

BEST = BestAdapters(8, 2.5)


def lines(folder: Path, keep: Any, **outcome: Any) -> list[str]:
    settings = train_settings(asked(folder, keep=keep, patience=2), lambda _: None)
    ended = replace(TrainingOutcome(12, None, None), **outcome)
    return [line.replace(str(folder), "") for line in _closing(settings, ended)]


@pytest.mark.parametrize(
    ("keep", "best", "expected"),
    [
        ("last", BEST, ["Adapters of step 12: /adapters"]),
        ("both", None, ["Adapters of step 12: /adapters"]),
        (
            "both",
            BEST,
            [
                "Adapters of step 12: /adapters",
                "Best adapters, of step 8 with validation loss 2.500: /adapters/best",
            ],
        ),
        ("best", BEST, ["Best adapters, of step 8 with validation loss 2.500: /adapters"]),
        ("best", None, ["No adapters are there yet: no validation came after a step"]),
    ],
)
def test_it_names_the_adapters_that_are_kept(
    tmp_path: Path, keep: str, best: BestAdapters | None, expected: list[str]
) -> None:
    assert lines(tmp_path, keep, best=best) == expected


def test_an_early_end_has_its_reason(tmp_path: Path) -> None:
    assert lines(tmp_path, "last", best=BEST, is_early=True)[0] == (
        "Ended early: 2 validations in a row were not below the loss of 2.500 after step 8"
    )
