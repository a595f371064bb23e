"""Trials that their model does not allow, whatever the memory."""

import dataclasses

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.models.source import Inspection, kind_of_training
from pytest_yourai.sweep.validity import why_not_valid

PATHS = ("self_attn.q_proj", "self_attn.o_proj")

HYBRID = Inspection(
    num_hidden_layers=6,
    parameters=1000,
    lora_keys={"qkvo": PATHS, "all": (*PATHS, "conv.in_proj"), "lm_head": ("lm_head",)},
    module_layers={**dict.fromkeys(PATHS, (0, 3)), "conv.in_proj": (1, 2, 4, 5)},
)


def reason(inspection: Inspection = HYBRID, layers: int = 2, keys: str = "qkvo") -> str | None:
    found = why_not_valid(LoraConfig(1, 8, layers, 64, lora_keys=keys), inspection, None)
    assert found is None or found.rule is SkipReason.INVALID
    return None if found is None else f"{found.reason}; {found.remedy}"


def test_layers_that_have_none_of_the_modules_are_named() -> None:
    assert reason() == (
        "not valid for this model, whose layers 4-5 have no module of qkvo, which layers 0, 3 "
        "have; use more lora_layers, or lora_keys all"
    )


@pytest.mark.parametrize(("layers", "keys"), [(3, "qkvo"), (2, "all"), (1, "lm_head")])
def test_one_adapter_is_enough(layers: int, keys: str) -> None:
    assert reason(layers=layers, keys=keys) is None


def test_of_a_model_that_was_not_built_nothing_is_known() -> None:
    assert reason(dataclasses.replace(HYBRID, module_layers={})) is None


def test_whole_layers_need_no_adapters() -> None:
    full = LoraConfig(1, 0, 2, 64, fine_tune_type=FineTuneType.FULL)
    assert why_not_valid(full, HYBRID, None) is None
    assert HYBRID.layers_without_adapters(full) == ()


def test_the_layers_without_adapters() -> None:
    config = LoraConfig(1, 8, 4, 64)
    assert HYBRID.layers_without_adapters(config) == (2, 4, 5)
    everywhere = dataclasses.replace(config, num_layers=6)
    assert HYBRID.layers_without_adapters(everywhere) == (1, 2, 4, 5)


def test_what_mlx_lm_cannot_train_says_why() -> None:
    kind = kind_of_training(LoraConfig(1, 8, 2, 64, lora_keys="all"))
    inspection = dataclasses.replace(
        HYBRID, untrainable={kind: "mlx-lm cannot train it: no gradient; name another model"}
    )
    assert reason(inspection, layers=4) is None
    assert reason(inspection, keys="all") == (
        "not valid for this model: mlx-lm cannot train it: no gradient; name another model"
    )


def test_the_profile_says_which_layers_each_module_is_in() -> None:
    assert HYBRID.adapted_modules == {
        "qkvo": dict.fromkeys(PATHS, "0, 3"),
        "all": {**dict.fromkeys(PATHS, "0, 3"), "conv.in_proj": "1-2, 4-5"},
        "lm_head": {"lm_head": "all"},
    }
    assert dataclasses.replace(HYBRID, module_layers={}).adapted_modules is None
