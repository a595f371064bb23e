"""Shorter rows: which lengths are offered, and what they save."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.shorter_rows import ShorterRows, shorter_rows
from pytest_yourai.models.dataset_lengths import TrainingData

LONG = LoraConfig(1, 8, 4, 2048)

DATA = TrainingData((100,) * 90 + (300,) * 6 + (700, 800, 1000, 1500))


def needs(config: LoraConfig) -> int:
    """1 GB and 1 MB a token."""
    return 1_000_000_000 + config.max_seq_length * 1_000_000


def ok(config: LoraConfig, minimum: int, *times_s: float) -> TrialResult:
    return TrialResult(
        "m", config, Outcome.OK, minimum_memory_bytes=minimum, step_times_s=times_s or (1.0,)
    )


def lengths(offers: list[ShorterRows]) -> list[int]:
    return [each.config.max_seq_length for each in offers]


def test_the_longest_rows_come_first_and_say_what_they_cut_and_save() -> None:
    found = shorter_rows(DATA, LONG, needs)
    assert lengths(found) == [1024, 512, 256]
    first = found[0]
    assert (first.rows_cut, first.share_of_rows) == (1, 0.01)
    assert first.share_of_tokens == pytest.approx(476 / DATA.tokens)
    assert (first.needs_bytes, first.instead_of_bytes) == (2_024_000_000, 3_048_000_000)
    assert (first.is_measured, first.epoch_time_s) == (False, None)


def test_a_measured_minimum_corrects_the_estimates_and_replaces_its_own() -> None:
    shorter = dataclasses.replace(LONG, max_seq_length=512)
    measured = {LONG: ok(LONG, 6_096_000_000), shorter: ok(shorter, 3_000_000_000)}
    found = shorter_rows(DATA, LONG, needs, measured)
    assert [(each.needs_bytes, each.is_measured) for each in found[:2]] == [
        (4_048_000_000, False),
        (3_000_000_000, True),
    ]
    assert found[0].epoch_time_s is not None
    assert found[0].epoch_time_s < (found[0].instead_of_epoch_time_s or 0)


def test_what_is_measured_is_offered_without_an_estimate() -> None:
    shorter = dataclasses.replace(LONG, max_seq_length=512)
    measured = {LONG: ok(LONG, 3_000_000_000), shorter: ok(shorter, 2_000_000_000)}
    assert lengths(shorter_rows(DATA, LONG, lambda _: None, measured)) == [512]
    assert shorter_rows(DATA, LONG, lambda _: None) == []


def test_a_length_that_saves_little_or_cuts_much_is_not_offered() -> None:
    assert shorter_rows(DATA, LONG, lambda _: 1_000_000_000) == []
    # 64 tokens would cut all rows.
    assert min(lengths(shorter_rows(DATA, LONG, needs))) > 64
    equal = TrainingData((500,) * 10)
    assert shorter_rows(equal, LONG, needs) == []


def test_rows_that_are_cut_already_are_offered_only_shorter() -> None:
    cut = dataclasses.replace(LONG, max_seq_length=512)
    assert lengths(shorter_rows(DATA, cut, needs)) == [384, 256, 128]
