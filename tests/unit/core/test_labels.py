"""A configuration is named by what distinguishes it within its sweep, and by nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.axes import LORA_KEYS
from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.labels import ConfigLabels, number_ranges

PLAIN = LoraConfig(1, 8, 4, 512)
LONG = LoraConfig(1, 8, 4, 1024)
CHECKPOINTED = LoraConfig(1, 8, 4, 512, grad_checkpoint=True)


def test_what_all_have_in_common_is_left_out() -> None:
    for common in (PLAIN, LONG, CHECKPOINTED):
        assert ConfigLabels.of([common]).name(common) == "batch=1, rank=8, layers=4"


def test_an_axis_is_named_for_every_configuration() -> None:
    naming = ConfigLabels.of([PLAIN, LONG])
    assert naming.name(PLAIN) == "batch=1, rank=8, layers=4, seq=512"
    assert naming.name(LONG) == "batch=1, rank=8, layers=4, seq=1024"
    naming = ConfigLabels.of([PLAIN, CHECKPOINTED])
    assert naming.name(PLAIN) == "batch=1, rank=8, layers=4, checkpoint=off"
    assert naming.name(CHECKPOINTED) == "batch=1, rank=8, layers=4, checkpoint=on"
    naming = ConfigLabels.of([LONG, CHECKPOINTED])
    assert naming.name(CHECKPOINTED) == "batch=1, rank=8, layers=4, seq=512, checkpoint=on"


def test_what_another_sweep_measured_says_what_is_different() -> None:
    naming = ConfigLabels.of([PLAIN])
    assert naming.name(LONG) == "batch=1, rank=8, layers=4, seq=1024"
    assert naming.name(CHECKPOINTED) == "batch=1, rank=8, layers=4, checkpoint=on"


def test_full_fine_tuning_has_no_rank_and_no_modules() -> None:
    full = dataclasses.replace(PLAIN, fine_tune_type=FineTuneType.FULL).canonical()
    assert ConfigLabels.of([full]).name(full) == "batch=1, layers=4"
    naming = ConfigLabels.of([PLAIN, full])
    assert naming.name(full) == "batch=1, layers=4, type=full"
    assert naming.name(PLAIN) == "batch=1, rank=8, layers=4, type=lora"
    everywhere = dataclasses.replace(PLAIN, lora_keys="all")
    naming = ConfigLabels.of([PLAIN, everywhere, full])
    assert naming.name(everywhere).endswith("type=lora, keys=all")
    assert naming.name(full) == "batch=1, layers=4, type=full"
    assert LORA_KEYS.text(full) == "–"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([4, 2, 3, 0], "0, 2-4"), ([0, 1, 5, 6, 6], "0-1, 5-6")],
)
def test_numbers_in_short(numbers: list[int], text: str) -> None:
    assert number_ranges(numbers) == text
