"""What a check tries, once a worker has told of the model and the data."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import LoraConfig, RowShape
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SafeCheck

from support.profiles import a_plan

GB = 1_000_000_000
SHAPE = RowShape(64, grad_checkpoint=True)
CONFIG = LoraConfig(1, 1, 1, 64)
FOUND = Inspection(num_hidden_layers=4, parameters=250_000, lora_keys=())


def test_a_check_tries_what_is_safe_with_the_rows_that_were_asked_for() -> None:
    plan = dataclasses.replace(a_plan("m", ()), check=SafeCheck(None, SHAPE))
    safe = LoraConfig(2, 64, 4, 64, grad_checkpoint=True)
    assert plan.tried(FOUND, 20 * GB) == (safe,)
    large = SafeCheck(70e9, SHAPE).configuration(FOUND, 20 * GB)
    assert (large.batch_size, large.rank) == (1, 16)


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 1), (2, 2), (9, 2)])
def test_a_check_takes_no_more_rows_than_the_data_has(rows: int, batch_size: int) -> None:
    found = dataclasses.replace(FOUND, data=TrainingData((5,) * rows))
    assert SafeCheck(None, SHAPE).configuration(found, 20 * GB).batch_size == batch_size


def test_a_sweep_tries_its_configurations_whatever_is_safe() -> None:
    assert a_plan("m", (CONFIG,)).tried(FOUND, 1) == (CONFIG,)
