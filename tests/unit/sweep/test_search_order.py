"""In which order configurations run, and which of them a failure makes needless."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.core.results import ModelSize, TrialResult
from pytest_yourai.sweep.preflight import dominating_failure

FAILED = TrialResult(
    "model-8b",
    LoraConfig(2, 16, 8, 256),
    Outcome.OVER_BUDGET,
    size=ModelSize(8_000_000_000, 4_500_000_000),
)


def test_light_configurations_come_first_whatever_their_order() -> None:
    configs = [LoraConfig(4, 8, 8, 64), LoraConfig(1, 8, 8, 64), LoraConfig(1, 8, 4, 64)]
    assert lightest_first(configs) == lightest_first(reversed(configs)) == configs[::-1]


@pytest.mark.parametrize(
    ("change", "is_dominated"),
    [
        ({}, True),
        ({"batch_size": 4, "rank": 32, "num_layers": 16, "max_seq_length": 512}, True),
        ({"batch_size": 1, "rank": 256}, False),
        ({"rank": 8}, False),
        ({"num_layers": 4}, False),
        ({"max_seq_length": 128}, False),
        ({"grad_checkpoint": True}, False),
    ],
)
def test_a_failure_prunes_what_has_no_less_of_anything(
    change: dict[str, Any], is_dominated: bool
) -> None:
    config = dataclasses.replace(FAILED.config, **change)
    assert bool(dominating_failure(config, [FAILED], "model-8b", None)) is is_dominated


@pytest.mark.parametrize(
    ("size", "is_dominated"),
    [
        (ModelSize(14_000_000_000, 8_000_000_000), True),
        (ModelSize(3_000_000_000, 2_000_000_000), False),
        # More parameters in fewer bytes, or the other way round: nobody knows.
        (ModelSize(14_000_000_000, 4_000_000_000), False),
        (ModelSize(3_000_000_000, 6_000_000_000), False),
        (None, False),
    ],
)
def test_a_failure_of_a_smaller_model_prunes_a_larger_one(
    size: ModelSize | None, is_dominated: bool
) -> None:
    found = dominating_failure(FAILED.config, [FAILED], "another-model", size)
    assert bool(found) is is_dominated


@pytest.mark.parametrize(
    ("predicted", "own", "is_dominated"),
    [(10, 10, True), (10, 11, True), (10, 9, False), (None, 9, True), (10, None, True)],
)
def test_a_smaller_model_that_was_predicted_to_need_more_prunes_nothing(
    predicted: int | None, own: int | None, is_dominated: bool
) -> None:
    # A small model with a large vocabulary has larger logits.
    failed = dataclasses.replace(FAILED, predicted_minimum_memory_bytes=predicted)
    size = ModelSize(14_000_000_000, 8_000_000_000)
    found = dominating_failure(failed.config, [failed], "another-model", size, own)
    assert bool(found) is is_dominated
    of_its_own = dominating_failure(failed.config, [failed], "model-8b", size, own)
    assert of_its_own is failed


def test_what_did_not_fail_for_memory_or_not_for_its_own_prunes_nothing() -> None:
    for result in (
        dataclasses.replace(FAILED, outcome=Outcome.CRASHED),
        dataclasses.replace(FAILED, conclusive=False),
    ):
        assert dominating_failure(FAILED.config, [result], "model-8b", None) is None
