"""Shapes and bytes as counted from config.json, against MLX's own models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import get_total_parameters, quantize_model

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.config_keys import stored_quantization
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.worker.engine.weights import build_lazily

from support.models import TINY
from support.tiny_families import TINY_FAMILIES

LLAMA: Mapping[str, Any] = {**TINY, "torch_dtype": "bfloat16", "num_hidden_layers": 3}
QWEN2: Mapping[str, Any] = {**LLAMA, "model_type": "qwen2"}
MISTRAL: Mapping[str, Any] = {**LLAMA, "model_type": "mistral"}
TIED = {"tie_word_embeddings": True}
ODD = {"intermediate_size": 224, "vocab_size": 301}
"""224 is 3.5 groups of 64: such matrices are not quantized."""

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {**LLAMA},
    "llama-tied": {**LLAMA, **TIED},
    "llama-says-nothing-of-its-head": {k: v for k, v in LLAMA.items() if k not in TIED},
    "llama-float32": {**LLAMA, "torch_dtype": "float32"},
    "llama-biases": {**LLAMA, "attention_bias": True, "mlp_bias": True},
    "llama-head-dim": {**LLAMA, "head_dim": 32},
    "llama-no-groups": {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"},
    "llama-odd": {**LLAMA, **ODD},
    "mistral": {**MISTRAL},
    "mistral-biases": {**MISTRAL, "attention_bias": True, "mlp_bias": True},
    "qwen2": {**QWEN2},
    "qwen2-tied-odd": {**QWEN2, **TIED, **ODD},
    "qwen2-head-dim": {**QWEN2, "head_dim": 32},
    "qwen2-attention-bias": {**QWEN2, "attention_bias": False},
}


def mlx_bytes(architecture: Mapping[str, Any], bits: int | None, group_size: int) -> int:
    model = build_lazily(architecture)
    model.set_dtype(getattr(mx, architecture["torch_dtype"]))
    if bits is not None:
        quantize_model(model, dict(architecture), group_size, bits)
    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))


@pytest.mark.parametrize(
    ("bits", "group_size"),
    [(None, 64), (2, 64), (3, 64), (4, 32), (4, 64), (4, 128), (5, 32), (6, 64), (8, 128)],
)
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_weights_are_counted_to_the_byte(
    architecture: dict[str, Any], bits: int | None, group_size: int
) -> None:
    shapes = read_architecture_shapes(architecture)
    assert shapes.is_exact
    assert shapes.weight_bytes(bits, group_size) == mlx_bytes(architecture, bits, group_size)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_parameters_are_all_counted(architecture: dict[str, Any]) -> None:
    model = build_lazily(architecture)
    shapes = read_architecture_shapes(architecture)
    assert shapes.parameters == get_total_parameters(model)
    found = {
        path: module.weight.shape
        for path, module in model.layers[0].named_modules()
        if path.endswith("_proj")
    }
    assert {each.key: (each.outputs, each.inputs) for each in shapes.linears} == found


def test_each_array_takes_whole_pages() -> None:
    shapes = read_architecture_shapes(LLAMA)
    page = 16384
    # In 16 bits: embedding and head of 32 kB, q and o of 8 kB, k and v of 4 kB, MLP of 32 kB.
    assert shapes.weight_bytes(None, 64, page) == shapes.weight_bytes(None, 64)
    wider = read_architecture_shapes({**LLAMA, "vocab_size": 257})
    grown = wider.weight_bytes(None, 64, page) - shapes.weight_bytes(None, 64, page)
    assert grown == 2 * page


def test_keys_name_layers_by_path_or_by_last_component() -> None:
    shapes = read_architecture_shapes(LLAMA)
    query = LinearShape("self_attn.q_proj", 64, 64)
    down = LinearShape("mlp.down_proj", 256, 64)
    assert shapes.adapted(["self_attn.q_proj"]) == (query,)
    assert shapes.adapted(["down_proj", "self_attn.q_proj", "q_proj"]) == (down, query)
    assert shapes.adapted(None) == shapes.linears
    assert down.parameters_per_rank == 320
    assert LinearShape("experts", 256, 64, copies=8).parameters_per_rank == 8 * 320


@pytest.mark.parametrize("key", ["proj", "attn.q_proj", "", "model.layers.0.self_attn.q_proj"])
def test_a_key_that_names_nothing_is_refused(key: str) -> None:
    with pytest.raises(ModelError, match="names no linear layer of the model: self_attn.q_proj"):
        read_architecture_shapes(LLAMA).adapted([key])


@pytest.mark.parametrize(
    "missing",
    [
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "num_attention_heads",
    ],
)
@pytest.mark.parametrize("value", [None, 0, -1, True, "64", 64.0])
def test_a_size_that_is_missing_or_none_is_named(missing: str, value: object) -> None:
    with pytest.raises(ModelError, match=f"config.json: {missing}: it is missing"):
        read_architecture_shapes({**LLAMA, missing: value})


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("qwen3_5", {"num_hidden_layers": 10**30}, "no model has that many"),
        ("llama", {"num_hidden_layers": 200_000_000}, "no model has that many"),
        ("llama", {"num_attention_heads": 1000}, "no llama can be built .*_proj has no size"),
        ("llama", {"num_key_value_heads": 3}, "its 4 heads are no multiple of 3 heads for keys"),
        ("openelm", {"ffn_multipliers": ["a", 1.0, 1.0]}, "no openelm can be built from its keys"),
        ("openelm", {"num_kv_heads": [1]}, "no openelm can be built from its keys"),
        ("lfm2", {"block_ffn_dim_multiplier": -1}, "no lfm2 can be built .* has no size"),
        ("lfm2", {"block_ffn_dim_multiplier": math.inf}, "no lfm2 can be built from its keys"),
        ("nemotron_h", {"hybrid_override_pattern": ["x"]}, "there is no layer"),
        ("granitemoehybrid", {"layer_types": [[]]}, "no granitemoehybrid can be built"),
    ],
)
def test_keys_that_describe_no_layers_are_refused(
    name: str, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        read_architecture_shapes({**TINY_FAMILIES[name], **changed})


def test_heads_of_an_unknown_type_have_a_size() -> None:
    with pytest.raises(ModelError, match="no another can be built .* has no size"):
        read_architecture_shapes({**LLAMA, "model_type": "another", "num_attention_heads": 1000})


def test_a_mapping_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {**LLAMA}
    endless["itself"] = endless
    with pytest.raises(ModelError, match="model: JSON cannot hold it"):
        read_architecture_shapes(endless)


def test_a_quantization_without_an_end_is_refused() -> None:
    with pytest.raises(ModelError, match="quantization: mlx-lm has no such quantization"):
        stored_quantization({"quantization": {"bits": math.inf, "group_size": 64}})


def test_the_text_part_of_a_model_with_several_counts() -> None:
    whole = {"model_type": "several", "hidden_size": 7, "text_config": dict(LLAMA)}
    found, text = read_architecture_shapes(whole), read_architecture_shapes(LLAMA)
    assert (found.model_type, found.hidden_size) == ("llama", 64)
    assert [layer.stages for layer in found.layers] == [layer.stages for layer in text.layers]
    assert found.weight_bytes(4, 64) == text.weight_bytes(4, 64)


def test_other_names_of_the_sizes_are_known() -> None:
    other = {"n_embd": 64, "n_layer": 3, "n_inner": 256, "n_head": 4, "vocab_size": 256}
    shapes = read_architecture_shapes({"model_type": "another", **other})
    assert not shapes.is_exact
    assert (shapes.hidden_size, shapes.num_hidden_layers, shapes.layers[0].inner) == (64, 3, 256)
    own = shapes.layers[0].attention
    assert own is not None
    assert (own.queries, own.elements) == (64, 3 * 64)
