"""What runs of other models say about a model, and what the model's own do."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer, Quantization
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.earlier_runs import (
    EarlierRuns,
    identity_of_shapes,
    kind_of_model,
    kind_of_recipe,
)
from pytest_yourai.models.source import ModelSource

from support.calibration_orders import RunErrors, read_models, run_in_order
from support.models import TINY

USUAL = Calibration()
SURE = (0.0002, 0.003, 0.003, 0.015)
ERROR = 0.02


def taught(factor: float, widths: tuple[float, ...] = SURE) -> Calibration:
    return Calibration((1.0, 1.0, factor, 1.0), widths, 12)


def activations(*others: Calibration) -> float:
    return EarlierRuns(others=others).prior(ERROR).factors[2]


def source(architecture: dict[str, Any], **more: Any) -> ModelSource:
    values = {"quantization": None, "lora_keys": None, **more}
    return ModelSource("m", architecture, None, True, **values)


def test_without_earlier_runs_the_estimate_stands() -> None:
    assert EarlierRuns().prior(ERROR) == USUAL
    assert EarlierRuns().prior(0.04).widths[2] == 2 * USUAL.widths[2]


def test_what_other_models_taught_is_shrunk_by_how_few_they_are() -> None:
    found = [activations(*[taught(1.03)] * count) for count in (1, 2, 5, 20)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(1 + 0.03 / 4, abs=0.001)
    assert 1.02 < found[-1] < 1.03


def test_a_model_whose_trials_said_nothing_of_a_component_has_no_say_in_it() -> None:
    silent = Calibration(USUAL.factors, USUAL.widths, 1)
    assert activations(taught(1.03), silent) == pytest.approx(activations(taught(1.03)))
    assert EarlierRuns(others=(silent,)).prior(ERROR).widths == pytest.approx(USUAL.widths)


def test_one_strange_model_moves_a_prediction_little() -> None:
    for factor in (2.0, 0.5):
        assert abs(activations(taught(factor)) - 1) < 0.02
    rough = EarlierRuns(others=(taught(2.0),) * 20).prior(1.0)
    assert rough.factors[2] == 1.25


def test_other_models_leave_the_model_room_to_differ() -> None:
    widths = EarlierRuns(others=(taught(1.03),) * 20).prior(ERROR).widths
    assert all(
        0.8 * usual < width < usual for width, usual in zip(widths, USUAL.widths, strict=True)
    )


def test_its_own_earlier_runs_count_before_those_of_others() -> None:
    prior = EarlierRuns(taught(1.1), (taught(0.9),)).prior(ERROR)
    assert prior.factors == taught(1.1).factors
    assert prior.widths == tuple(width / 2 for width in USUAL.widths)


def test_kinds_of_models_have_errors_of_their_own() -> None:
    tiny = source(dict(TINY))
    assert kind_of_model(tiny, "cpu") == "cpu llama 32-bit float 1e5"
    quantized = source(dict(TINY), quantization=Quantization(4))
    assert kind_of_model(quantized, "cuda") == "cuda llama 4-bit 1e5"
    assert kind_of_model(source({}), "cuda") == "cuda None 16-bit float unknown"
    assert identity_of_shapes(tiny) != identity_of_shapes(quantized)


def test_kinds_of_recipes_have_errors_of_their_own() -> None:
    usual = LoraConfig(1, 8, 4, 64)
    kinds = [
        usual,
        dataclasses.replace(usual, grad_checkpoint=True),
        dataclasses.replace(usual, lora_keys="all"),
        dataclasses.replace(usual, fine_tune_type=FineTuneType.DORA),
        dataclasses.replace(usual, optimizer=Optimizer.SGD),
        dataclasses.replace(usual, dropout=0.1),
        dataclasses.replace(usual, grad_accumulation_steps=4),
    ]
    assert len(set(map(kind_of_recipe, kinds))) == len(kinds)
    same = (LoraConfig(8, 64, 16, 512), dataclasses.replace(usual, dropout=0.0))
    assert {kind_of_recipe(each) for each in same} == {kind_of_recipe(usual)}


def _clean() -> dict[str, RunErrors]:
    return {name: found for name in read_models() for _, found in run_in_order([name])}


@pytest.mark.repeats
@pytest.mark.parametrize("one_kind", [False, True], ids=["kinds apart", "all one kind"])
def test_no_model_is_harmed_by_what_others_taught_before_it(one_kind: bool) -> None:
    clean = _clean()
    for order in itertools.permutations(clean):
        for name, found in run_in_order(order, one_kind=one_kind):
            assert found.excess(clean[name]) <= 0, (order, name)


@pytest.mark.repeats
def test_a_model_is_predicted_better_the_second_time_whatever_ran_between() -> None:
    clean = _clean()
    for name, other in itertools.permutations(clean, 2):
        *_, (_, again) = run_in_order([name, other, name])
        assert again.mean <= clean[name].mean, (name, other)
