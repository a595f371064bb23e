from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import ModelError
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import (
    estimate_training_memory,
    estimate_trial,
    trained_parameters,
)
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.architecture import InspectedShapes, LayerArrays
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import ModelSource

from support.tiny_families import TINY_FAMILIES

LLAMA_8B: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "tie_word_embeddings": False,
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
BACKENDS: tuple[Backend, ...] = ("cpu", "metal", "cuda")
SIZES = {
    "batch_size": 1,
    "lora_rank": 1,
    "lora_layers": 1,
    "seq_length": 2,
    "grad_accumulation_steps": 1,
}
"""The smallest value of each."""
USUAL: Mapping[str, Any] = {
    "batch_size": 2,
    "lora_rank": 64,
    "lora_layers": 16,
    "seq_length": 512,
    "quantization_bits": 4,
    "lora_keys": ATTENTION,
    "backend": "cuda",
}


LARGEST_FALL = 0.3
"""Of what is in flight on Metal; 0.165 was the largest of 18,000 pairs."""


def estimate(architecture: Mapping[str, Any] = LLAMA_8B, **changed: Any) -> MemoryEstimate:
    return estimate_training_memory(architecture, **{**USUAL, **changed})


@given(
    batch=st.integers(1, 8),
    rank=st.integers(1, 256),
    layers=st.integers(1, 40),
    length=st.integers(2, 2049),
    backend=st.sampled_from(BACKENDS),
    keys=st.sampled_from((ATTENTION, ("q_proj",), ("down_proj",), None)),
    checkpoint=st.booleans(),
    more=st.tuples(*[st.integers(0, 2)] * 3),
    longer=st.integers(0, 300),
)
# Between these lengths another moment becomes the highest one.
@example(1, 7, 3, 2, "cpu", ATTENTION, True, (0, 0, 0), 2)
# More rows, and less of what is in flight is float32.
@example(1, 59, 2, 27, "metal", None, False, (1, 0, 0), 0)
@example(4, 198, 6, 24, "metal", ("down_proj",), False, (2, 0, 0), 0)
def test_no_axis_lowers_it(
    batch: int,
    rank: int,
    layers: int,
    length: int,
    backend: Backend,
    keys: tuple[str, ...] | None,
    checkpoint: bool,
    more: tuple[int, int, int],
    longer: int,
) -> None:
    def at(batch: int, rank: int, layers: int, length: int) -> MemoryEstimate:
        return estimate(
            batch_size=batch,
            lora_rank=rank,
            lora_layers=layers,
            seq_length=length,
            lora_keys=keys,
            grad_checkpoint=checkpoint,
            backend=backend,
        )

    if backend == "cuda":
        # Whole multiples of 128 positions are fused there, and need less than shorter rows.
        length, longer = length // 128 * 128 + 1 if length > 128 else 129, longer // 128 * 128
    less = at(batch, rank, layers, length)
    most = at(batch + more[0], rank + more[1], layers + more[2], length + longer)
    # Each part is rounded to whole bytes.
    assert less.minimum_bytes <= most.minimum_bytes + 4
    assert less.minimum_bytes <= less.conservative_bytes
    # On Metal it bounds what is in flight, too: so many elements, of two bytes or of four. Wide
    # adapters of short rows are mostly float32, and longer rows or more of them less so.
    falls = LARGEST_FALL * less.ahead_bytes if backend == "metal" else 8
    assert less.conservative_bytes <= most.conservative_bytes + falls


@given(
    batch=st.integers(1, 8),
    layers=st.integers(8, 32),
    # In shorter rows it is the optimizer that needs most.
    length=st.integers(64, 1024),
    backend=st.sampled_from(BACKENDS),
)
def test_checkpointing_lowers_it(batch: int, layers: int, length: int, backend: Backend) -> None:
    settings: dict[str, Any] = {
        "batch_size": batch,
        "lora_layers": layers,
        "seq_length": length,
        "backend": backend,
    }
    with_it = estimate(**settings, grad_checkpoint=True)
    assert with_it.minimum_bytes < estimate(**settings).minimum_bytes


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_parts_are_the_minimum(backend: Backend) -> None:
    found = estimate(backend=backend)
    parts = dataclasses.asdict(found)
    margin = parts.pop("margin_bytes")
    parts.pop("relative_error")
    ahead, ahead_margin = parts.pop("ahead_bytes"), parts.pop("ahead_margin_bytes")
    unlimited = parts.pop("unlimited_bytes")
    assert sum(parts.values()) == found.minimum_bytes
    assert found.peak_bytes == found.minimum_bytes + ahead
    assert found.conservative_peak_bytes == found.peak_bytes + margin + ahead_margin
    assert unlimited == (ahead + ahead_margin if backend == "metal" else 0)
    assert found.conservative_bytes == found.minimum_bytes + margin + unlimited
    assert all(isinstance(part, int) and part >= 0 for part in parts.values())


def test_adapters_and_the_optimizer_are_counted_by_hand() -> None:
    found = estimate(lora_keys=("q_proj", "v_proj"), lora_rank=8, lora_layers=4, backend="cpu")
    parameters = 4 * 8 * ((4096 + 4096) + (4096 + 1024))
    assert found.adapters_bytes == 4 * parameters
    assert found.optimizer_bytes == 2 * 4 * parameters
    assert found.gradients_bytes == round(1.4 * parameters)


@pytest.mark.parametrize(
    ("optimizer", "arrays"), [("adam", 2), ("adamw", 2), ("muon", 1), ("sgd", 1)]
)
def test_each_optimizer_keeps_its_own_arrays(optimizer: str, arrays: int) -> None:
    found = estimate(optimizer=optimizer)
    assert found.optimizer_bytes == arrays * found.adapters_bytes


def test_adafactor_keeps_rows_and_columns_and_with_beta_1_a_moment() -> None:
    usual = estimate(optimizer="adafactor")
    assert 0 < usual.optimizer_bytes < usual.adapters_bytes / 20
    config = {"beta_1": 0.9, "weight_decay": 0.1}
    with_moment = estimate(optimizer="adafactor", optimizer_config=config)
    assert with_moment.optimizer_bytes - usual.optimizer_bytes == usual.adapters_bytes
    assert estimate(optimizer="adafactor", optimizer_config={"beta_1": None}) == usual
    assert estimate(optimizer="sgd", optimizer_config=config) == estimate(optimizer="sgd")


def test_full_fine_tuning_has_no_adapters_and_no_rank() -> None:
    settings: dict[str, Any] = {"fine_tune_type": "full", "quantization_bits": None}
    found = estimate(**settings)
    assert found.adapters_bytes == 0
    parameters = 16 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336 + 2 * 4096)
    assert found.optimizer_bytes == 2 * 2 * parameters, "in bfloat16, as the weights"
    assert estimate(**settings, lora_rank=8, lora_keys=["q_proj"], dropout=0.1) == found


def test_full_fine_tuning_of_quantized_weights_is_refused() -> None:
    message = (
        "^full fine-tuning cannot train quantized weights, .*: use fine_tune_type lora or dora"
    )
    with pytest.raises(ModelError, match=message):
        estimate(fine_tune_type="full")


def test_minus_one_means_all_layers() -> None:
    assert estimate(lora_layers=-1) == estimate(lora_layers=32)


def test_keys_may_be_paths_or_last_components() -> None:
    assert estimate(lora_keys=[f"self_attn.{key}" for key in ATTENTION]) == estimate()
    every = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
    assert estimate(lora_keys=None) == estimate(lora_keys=every)
    with pytest.raises(ModelError, match="LoRA key c_attn names no linear layer"):
        estimate(lora_keys=("c_attn",))


def test_a_missing_size_is_named() -> None:
    without = {key: value for key, value in LLAMA_8B.items() if key != "num_hidden_layers"}
    with pytest.raises(ModelError, match="config.json: num_hidden_layers: it is missing"):
        estimate(without)


def test_the_text_part_is_what_is_trained() -> None:
    assert estimate({"model_type": "several", "text_config": dict(LLAMA_8B)}) == estimate()


def test_layers_beyond_the_models_depth_are_not_there() -> None:
    assert estimate(lora_layers=99) == estimate(lora_layers=32)


def test_other_architectures_are_less_certain() -> None:
    other = estimate({**LLAMA_8B, "model_type": "olmo"})
    usual = estimate()
    assert other.minimum_bytes == usual.minimum_bytes
    assert other.relative_error > usual.relative_error
    assert other.margin_bytes - usual.margin_bytes == round(0.15 * usual.minimum_bytes)


def test_the_built_model_counts_where_it_was_asked() -> None:
    linears = (LinearShape("block.mix", 100, 200),)
    inspected = InspectedShapes(12_345, linears, adapter_parameters_per_rank=(1, 5, 7))
    found = estimate(inspected=inspected, lora_rank=2, lora_layers=2)
    assert found.weights_bytes == 12_345
    assert found.adapters_bytes == 4 * 2 * (5 + 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantization_bits": 7}, "quantization_bits must be one of 2, 3, .*, not 7"),
        ({"quantization_bits": -4}, "quantization_bits must be at least 1, not -4"),
        ({"group_size": 65}, "group_size must be one of 16, 32, 64, 128, not 65"),
        ({"lora_keys": "q_proj"}, "lora_keys must be a list of one or more names"),
        ({"lora_keys": []}, "lora_keys must be a list of one or more names"),
        ({"lora_keys": 3}, "lora_keys must be a list of one or more names"),
        ({"lora_keys": iter(())}, "lora_keys must be a list of one or more names"),
        ({"backend": "mps"}, "backend must be one of cpu, metal, cuda, not mps"),
        ({"optimizer": "lion"}, "optimizer must be one of adam, .*, not lion"),
        ({"fine_tune_type": "qlora"}, "fine_tune_type must be one of lora, dora, full, not qlora"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
        *[
            ({name: value}, f"{name} must be at least {least}, not {value}")
            for name, least in SIZES.items()
            for value in (0, -3)
        ],
        *[({name: 10**400}, f"{name} must be at most 1,000,000,000,000$") for name in SIZES],
    ],
)
def test_an_invalid_value_is_refused_in_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        estimate(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*SIZES, "quantization_bits", "group_size"])
@pytest.mark.parametrize("value", [2.5, 4.0, True, "4"])
def test_a_size_is_an_integer(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an integer, not {value!r}$"):
        estimate(**{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer_config": "adam"}, "optimizer_config must be a mapping or None, not 'adam'"),
        ({"optimizer_config": 3}, "optimizer_config must be a mapping or None, not 3"),
        ({"device": 5}, "device must be a text, not 5"),
        ({"grad_checkpoint": "no"}, "grad_checkpoint must be True or False, not 'no'"),
        ({"grad_checkpoint": None}, "grad_checkpoint must be True or False, not None"),
        ({"dropout": "0.1"}, "dropout must be a number, not '0.1'"),
        ({"dropout": True}, "dropout must be a number, not True"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_one_sentence(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        estimate(**change)
    assert estimate(optimizer_config=None) == estimate(optimizer_config={})


def test_integers_of_numpy_are_sizes() -> None:
    assert estimate(batch_size=np.int64(2), lora_rank=np.int32(64)) == estimate()


def test_any_iterable_of_keys_is_read_whole() -> None:
    assert estimate(lora_keys=(key for key in ATTENTION)) == estimate()
    assert estimate(lora_keys=dict.fromkeys(ATTENTION)) == estimate()
    assert estimate(lora_keys=iter(["q_proj"])).adapters_bytes > 0


def test_a_model_is_named_by_preset_folder_or_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    preset = estimate_training_memory("llama-8b", **USUAL)
    for named in ("mine", "./mine", folder, LLAMA_8B):
        assert estimate_training_memory(named, **USUAL) == preset
    for name in ("llama-9b", "./nothing", "owner/repository"):
        with pytest.raises(ModelError, match=name):
            estimate_training_memory(name, **USUAL)
    with pytest.raises(ModelError, match="model: 'a.x00b' is not valid: a path must have no null"):
        estimate_training_memory("a\0b", **USUAL)


def test_the_backend_is_the_one_that_is_installed() -> None:
    without = {name: value for name, value in USUAL.items() if name != "backend"}
    here = estimate(backend=installed_backend())
    assert estimate_training_memory(LLAMA_8B, **without) == here


def test_sixteen_bits_are_full_precision() -> None:
    def of(bits: int | None) -> MemoryEstimate:
        return estimate_training_memory(
            LLAMA_8B,
            batch_size=1,
            lora_rank=8,
            lora_layers=2,
            seq_length=64,
            quantization_bits=bits,
        )

    assert of(16) == of(None) != of(4)


def test_a_mixture_of_experts_of_another_type_is_not_estimated() -> None:
    with pytest.raises(ModelError, match="8 experts: this mixture of experts cannot be estimated"):
        estimate_training_memory(
            {**LLAMA_8B, "model_type": "another", "num_local_experts": 8},
            batch_size=1,
            lora_rank=8,
            lora_layers=2,
            seq_length=64,
            quantization_bits=4,
        )


def test_the_groups_of_every_mode_of_mlx_are_estimated() -> None:
    sizes = [
        estimate_training_memory(
            LLAMA_8B,
            batch_size=1,
            lora_rank=8,
            lora_layers=2,
            seq_length=64,
            quantization_bits=4,
            group_size=group_size,
        ).weights_bytes
        for group_size in (16, 32, 64, 128)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_the_weights_of_a_folder_are_as_large_as_its_files() -> None:
    source = ModelSource("x", LLAMA_8B, "folder", False, None, ("qkvo",), stored_bytes=12_345)
    assert estimate_trial(LoraConfig(1, 4, 2, 64), source, "cpu").weights_bytes == 12_345


def test_parameters_of_a_model_that_is_not_known_are_not_counted() -> None:
    known = ModelSource("m", LLAMA_8B, None, True, None, ("qkvo",))
    assert trained_parameters(LoraConfig(1, 8, 4, 512), known)
    unknown = dataclasses.replace(known, architecture={})
    assert trained_parameters(LoraConfig(1, 8, 4, 512), unknown) is None


def test_parameters_of_an_inspected_model_are_its_own_whatever_its_type() -> None:
    source = ModelSource("m", {}, None, True, None, ("qkvo",))
    layers = tuple(LayerArrays(1, parameters, 1, 1) for parameters in (10, 200, 3000))
    linears = (LinearShape("block.mix", 100, 200, copies=4),)
    inspected = InspectedShapes(12_345, linears, (1, 5, 7), layers)
    whole = LoraConfig(1, 0, 2, 512, fine_tune_type=FineTuneType.FULL)
    assert trained_parameters(whole, source, inspected) == 3200
    assert trained_parameters(LoraConfig(1, 2, 2, 512), source, inspected) == 2 * (5 + 7)
    without = dataclasses.replace(inspected, layers=())
    assert trained_parameters(whole, source, without) is None


def test_whole_layers_of_a_mixture_need_no_less_for_more_of_them() -> None:
    wide = {"hidden_size": 2048, "intermediate_size": 5632, "vocab_size": 32_000}
    mixture = {**TINY_FAMILIES["qwen3_moe"], **wide}
    found = [
        estimate(
            mixture,
            lora_layers=layers,
            fine_tune_type="full",
            quantization_bits=None,
            lora_keys=None,
        )
        for layers in (1, 2, 3)
    ]
    for fewer, more in itertools.pairwise(found):
        assert more.minimum_bytes > fewer.minimum_bytes
        assert more.conservative_bytes > fewer.conservative_bytes
