import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import (
    FineTuneType,
    LoraConfig,
    Optimizer,
    Quantization,
    StepPlan,
    minimum_memory_bytes,
    parse_quantize,
)


def config(**changes: int) -> LoraConfig:
    return dataclasses.replace(LoraConfig(2, 8, 4, 64), **changes)  # type: ignore[arg-type]


def test_throughput_score_is_the_product_of_the_three_axes() -> None:
    assert config(batch_size=4, rank=128, num_layers=32).throughput_score == 16_384


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 0}, {"rank": 0}, {"num_layers": 0}, {"num_layers": -1}, {"max_seq_length": 1}],
)
def test_values_below_the_least_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"batch_size": 4, "rank": 16, "num_layers": 5, "max_seq_length": 65}, True),
        ({"batch_size": 1}, False),
        ({"rank": 7}, False),
        ({"num_layers": 3}, False),
        ({"max_seq_length": 63}, False),
        ({"batch_size": 8, "rank": 4}, False),
    ],
)
def test_needs_at_least_as_much_only_where_no_axis_is_smaller(
    changes: dict[str, int], expected: bool
) -> None:
    assert config(**changes).needs_at_least_as_much_as(config()) is expected


@pytest.mark.parametrize(
    ("changes", "needs_more", "needs_less"),
    [
        ({"fine_tune_type": FineTuneType.DORA}, True, False),
        ({"fine_tune_type": FineTuneType.FULL}, False, False),
        ({"optimizer": Optimizer.SGD}, False, True),
        ({"optimizer": Optimizer.MUON}, False, False),
        ({"lora_keys": "qv"}, False, True),
        ({"lora_keys": "all"}, True, False),
        ({"lora_keys": "self_attn.q_proj,mlp.up_proj"}, False, False),
        ({"dropout": 0.05}, True, False),
        ({"grad_accumulation_steps": 4}, True, False),
        ({"fine_tune_type": FineTuneType.DORA, "rank": 4}, False, False),
    ],
)
def test_recipes_are_compared_as_they_were_measured(
    changes: dict[str, Any], needs_more: bool, needs_less: bool
) -> None:
    other = dataclasses.replace(config(), **changes)
    assert other.needs_at_least_as_much_as(config()) is needs_more
    assert config().needs_at_least_as_much_as(other) is needs_less


def test_checkpointing_needs_less_and_so_dominates_nothing_without_it() -> None:
    plain = config()
    checkpointed = LoraConfig(2, 8, 4, 64, grad_checkpoint=True)
    assert plain.needs_at_least_as_much_as(checkpointed)
    assert not checkpointed.needs_at_least_as_much_as(plain)


@pytest.mark.parametrize(
    ("step_times_s", "over"),
    [
        ([1.0], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0], True),
        ([9.0, 1.0, 1.1], True),
        ([9.0, 1.0, 1.11], False),
        ([9.0, 1.11, 1.0], False),
        ([9.0, 1.0, 1.05], True),
        ([8.0, 4.0, 2.0, 1.0, 8.0, 4.0, 2.0], False),
        ([8.0, 4.0, 2.0, 1.0, 8.0, 4.0, 2.0, 1.0], True),
    ],
)
def test_warmup_ends_when_two_in_a_row_agree_or_at_the_most_steps(
    step_times_s: list[float], over: bool
) -> None:
    assert StepPlan().warmup_is_over(step_times_s) is over


def test_more_warmup_steps_than_the_usual_most_are_all_run() -> None:
    plan = StepPlan.of(measured_steps=10, warmup_steps=12)
    assert not plan.warmup_is_over([1.0] * 11)
    assert plan.warmup_is_over([1.0] * 12)


def test_the_minimum_leaves_out_the_first_step_and_single_late_releases() -> None:
    assert minimum_memory_bytes([90, 100, 100, 102, 100]) == 100
    assert minimum_memory_bytes([90, 102, 100]) == 100
    assert minimum_memory_bytes([90, 100]) == 100
    assert minimum_memory_bytes([90]) == 90


def test_a_maximum_below_the_minimum_is_refused_and_not_raised_quietly() -> None:
    with pytest.raises(ValueError, match="max_warmup_steps must be at least warmup_steps"):
        StepPlan(warmup_steps=12)


def test_fewer_than_two_warmup_steps_are_refused_because_both_compile() -> None:
    with pytest.raises(ValueError, match="warmup_steps"):
        StepPlan(warmup_steps=1)


@pytest.mark.parametrize(("text", "bits"), [("4", 4), ("8", 8), ("2", 2)])
def test_quantize_takes_bits(text: str, bits: int) -> None:
    assert parse_quantize(text) == Quantization(bits=bits, group_size=64)


def test_quantize_takes_none() -> None:
    assert parse_quantize("none") == "none"


@pytest.mark.parametrize("text", ["7", "four", "-4", "", "4.0"])
def test_quantize_refuses_what_mlx_has_not(text: str) -> None:
    with pytest.raises(ValueError, match="none or a number of bits out of 2, 3, 4, 5, 6, 8"):
        parse_quantize(text)


def test_group_size_is_one_of_mlx() -> None:
    with pytest.raises(ValueError, match="group_size"):
        Quantization(bits=4, group_size=48)


def test_bits_and_mode_are_those_of_mlx() -> None:
    with pytest.raises(ValueError, match="bits must be one of .*, not 7"):
        Quantization(bits=7)
    with pytest.raises(ValueError, match="mode must be one of .*mxfp4.*, not mxfp5"):
        Quantization(bits=4, mode="mxfp5")
    assert Quantization(bits=7, group_size=48, mode="mxfp4").bits == 7, "the mode sets the sizes"


def test_a_trial_without_a_measured_step_is_refused() -> None:
    with pytest.raises(ValueError, match="measured_steps must be at least 1, not 0"):
        StepPlan(measured_steps=0)
