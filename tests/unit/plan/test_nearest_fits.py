"""What fits instead: the least change first, each within the budget, none that another spares."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest

from pytest_yourai.core.config import SAFETY_MARGIN, FineTuneType, LoraConfig, Quantization
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.estimate.training_memory import estimate_trial
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.nearest_fits import NearestFit, nearest_fits

GB = 1e9

LLAMA = read_presets(packaged_models())["llama-8b"].architecture or {}

LONG = LoraConfig(2, 64, 16, 2048)
"""Of llama-8b in 4 bits, on a CPU, it needs more than 16 GB."""


def source(bits: int | None = 4, **architecture: Any) -> ModelSource:
    quantization = Quantization(bits) if bits else None
    return ModelSource("m", {**LLAMA, **architecture}, None, True, quantization, ("qkvo",))


def near(
    config: LoraConfig, gigabytes: float, bits: int | None = 4, **others: Any
) -> list[NearestFit]:
    return nearest_fits(source(bits), config, gigabytes * GB, backend="cpu", **others)


def test_what_changes_least_comes_first_with_its_needs_and_flags() -> None:
    first = near(LONG, 16)[0]
    assert first.change == "checkpointing"
    assert first.flags == ("--yourai-grad-checkpoint",)
    assert first.config == dataclasses.replace(LONG, grad_checkpoint=True)
    assert first.needs_bytes == first.estimate.minimum_bytes
    assert first.needs_bytes * SAFETY_MARGIN <= 16 * GB


def test_what_costs_time_alone_is_told_apart_from_what_changes_the_result() -> None:
    found = near(LoraConfig(8, 256, 32, 2048, lora_keys="all"), 12, 8) + near(LONG, 16)
    kept = {each.change: each.keeps_the_result for each in found}
    assert set(kept.values()) == {True, False}
    words = ("layers", "rank", "rows", "weights")
    assert kept == {each: not any(word in each for word in words) for each in kept}
    assert any("rank" in each for each in kept)


def test_a_smaller_batch_keeps_the_rows_of_an_update() -> None:
    wanted = LoraConfig(6, 16, 32, 2048, grad_accumulation_steps=2, lora_keys="all")
    changed = [each for each in near(wanted, 16) if each.config.batch_size < 6]
    assert changed
    for each in changed:
        assert each.config.effective_batch_size == 12
        accumulation = each.config.grad_accumulation_steps
        assert f"batch {each.config.batch_size} with accumulation {accumulation}" in each.change
        assert f"--yourai-grad-accumulation-steps={accumulation}" in each.flags


@pytest.mark.repeats
@pytest.mark.parametrize("budget", [8, 9, 11, 14])
@pytest.mark.parametrize("bits", [4, 8, None])
def test_proposals_fit_and_none_includes_another(budget: float, bits: int | None) -> None:
    wanted = LoraConfig(8, 256, 32, 2048, lora_keys="all")
    found = near(wanted, budget, bits)
    assert 1 <= len(found) <= 5
    for each in found:
        assert each.needs_bytes * SAFETY_MARGIN <= budget * GB
        assert each.flags
    for one, other in itertools.permutations(found, 2):
        assert not _spares(one, other), f"{other.change} changes all that {one.change} does"


def _spares(one: NearestFit, other: NearestFit) -> bool:
    """True if `other` changes no axis less than `one`."""

    def changes(each: NearestFit) -> tuple[float, ...]:
        config, bits = each.config, each.quantization.bits if each.quantization else 16
        sizes = (config.batch_size, config.rank, config.num_layers, config.max_seq_length, bits)
        return (*(-math.log2(size) for size in sizes), float(config.grad_checkpoint))

    pairs = zip(changes(one), changes(other), strict=True)
    return all(theirs >= mine for mine, theirs in pairs)


def test_where_even_the_smallest_does_not_fit_there_is_nothing() -> None:
    assert near(LONG, 5) == []
    assert near(LoraConfig(1, 8, 4, 128, grad_checkpoint=True), 5) == []


def test_nothing_but_what_can_be_changed_is_changed() -> None:
    smallest = near(LONG, 6.2)
    assert smallest
    for each in smallest:
        config = each.config
        assert (config.rank >= 8, config.num_layers >= 4, config.max_seq_length >= 128) == (
            True,
        ) * 3
        recipe = (config.optimizer, config.lora_keys, config.dropout, config.fine_tune_type)
        assert recipe == (LONG.optimizer, LONG.lora_keys, LONG.dropout, LONG.fine_tune_type)


def test_bits_of_stored_weights_stay() -> None:
    stored = source(8, quantization={"bits": 8, "group_size": 64})
    foreign = source(None, quantization_config={"quant_method": "awq"})
    for each in (stored, foreign):
        found = nearest_fits(each, LONG, 26 * GB, backend="cpu")
        assert found == [] or not any(fit.is_requantized for fit in found)
    found = nearest_fits(source(8), LONG, 12 * GB, backend="cpu")
    assert any(fit.is_requantized and fit.quantization == Quantization(4) for fit in found)
    requantized = next(fit for fit in found if fit.is_requantized)
    assert "4-bit weights" in requantized.change
    assert "--yourai-quantize=4" in requantized.flags


def test_full_fine_tuning_is_not_quantized() -> None:
    full = LoraConfig(4, 0, 32, 512, fine_tune_type=FineTuneType.FULL, lora_keys="all")
    found = near(full, 60, None)
    assert found
    assert all(fit.quantization is None and fit.config.rank == 0 for fit in found)


def test_layers_beyond_the_model_are_those_of_the_model() -> None:
    assert near(dataclasses.replace(LONG, num_layers=99), 1000)[0].config.num_layers == 32


def test_rows_are_cut_only_where_that_spares_memory() -> None:
    """Rows of 300 tokens do not get shorter by a limit of 512."""
    wanted = dataclasses.replace(LONG, max_seq_length=2048)
    lengths = {each.config.max_seq_length for each in near(wanted, 7.5, longest_row=300)}
    assert lengths <= {2048, 256, 128}
    assert near(wanted, 9, longest_row=300)[0].needs_bytes < near(LONG, 16)[0].needs_bytes


def test_what_was_measured_corrects_the_estimates() -> None:
    plain = near(LONG, 16)[0]
    estimated = estimate_trial(LONG, source(), "cpu").minimum_bytes
    worse = near(LONG, 16, measured_bytes=round(estimated * 1.3))
    assert worse[0].needs_bytes == pytest.approx(plain.needs_bytes * 1.3)
    assert all(fit.needs_bytes * SAFETY_MARGIN <= 16 * GB for fit in worse)


def test_a_cautious_proposal_has_room_for_the_error_of_its_estimate() -> None:
    for each in near(LONG, 12, is_cautious=True):
        assert each.estimate.conservative_bytes * SAFETY_MARGIN <= 12 * GB


def test_a_model_that_cannot_be_estimated_is_an_error() -> None:
    mixture = source(4, model_type="another", num_local_experts=8)
    with pytest.raises(ModelError, match="experts"):
        nearest_fits(mixture, LONG, 16 * GB, backend="cpu")
