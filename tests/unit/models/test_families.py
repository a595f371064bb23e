"""Model types that config.json describes to the byte, against MLX's own models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model

from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.families import FAMILIES
from pytest_yourai.models.known_config import known_config
from pytest_yourai.worker.engine.adapted_modules import ADAPTABLE, shapes
from pytest_yourai.worker.engine.weights import build_like_stored

from support.tiny_families import TINY_FAMILIES

FORMS: tuple[tuple[int, int, str] | None, ...] = (
    None,
    (4, 64, "affine"),
    (3, 32, "affine"),
    (4, 32, "mxfp4"),
)


def built(config: Mapping[str, Any], form: tuple[int, int, str] | None = None) -> nn.Module:
    model = build_like_stored(config)
    if form is not None:
        bits, group_size, mode = form
        quantize_model(model, dict(config), group_size, bits, mode=mode)
    return model


def test_there_is_a_tiny_model_of_each_type() -> None:
    assert {known_config(each).model_type for each in TINY_FAMILIES.values()} == set(FAMILIES)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("config", TINY_FAMILIES.values(), ids=TINY_FAMILIES)
def test_weights_are_counted_to_the_byte(
    config: dict[str, Any], form: tuple[int, int, str] | None
) -> None:
    arrays = [array for _, array in tree_flatten(built(config, form).parameters())]
    found = read_architecture_shapes(config)
    assert found.is_exact
    bits, group_size, mode = form or (None, 1, "affine")
    held = sum(array.nbytes for array in arrays)
    assert found.weight_bytes(bits, group_size, mode=mode) == held
    if form is None:
        assert found.parameters == sum(array.size for array in arrays)


@pytest.mark.parametrize("config", TINY_FAMILIES.values(), ids=TINY_FAMILIES)
def test_each_layer_has_the_linear_layers_that_mlx_lm_adapts(config: dict[str, Any]) -> None:
    model = built(config)
    found = read_architecture_shapes(config)
    for layer, own in zip(model.layers, found.layers, strict=True):
        paths = {path for path, each in layer.named_modules() if isinstance(each, ADAPTABLE)}
        assert {linear.key for linear in own.linears} == paths
    every = {linear.key for linear in found.linears}
    per_rank = shapes(model, every).adapter_parameters_per_rank
    mine = (sum(each.parameters_per_rank for each in own.linears) for own in found.layers)
    assert tuple(mine) == per_rank


def test_linear_layers_that_share_a_stage_read_the_same_number() -> None:
    for config in TINY_FAMILIES.values():
        kinds = read_architecture_shapes(config).kinds
        for stage in itertools.chain.from_iterable(kind.stages for kind in kinds):
            assert len({linear.inputs for linear in stage.linears}) <= 1


def test_experts_of_gpt_oss_as_openai_stores_them_are_packed() -> None:
    config = {**TINY_FAMILIES["gpt_oss"], "quantization_config": {"quant_method": "mxfp4"}}
    model = built(config)
    nn.quantize(
        model,
        group_size=32,
        bits=4,
        mode="mxfp4",
        class_predicate=lambda path, _: ".experts." in path and path.endswith("_proj"),
    )
    held = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    assert read_architecture_shapes(config).weight_bytes(None, 1) == held


def test_a_named_set_is_of_the_modules_that_a_model_has() -> None:
    joined = read_architecture_shapes(TINY_FAMILIES["gpt2"])
    assert {each.key for each in joined.chosen("qkvo")} == {"attn.c_attn", "attn.c_proj"}
    assert [each.key for each in joined.chosen("c_attn")] == ["attn.c_attn"]
    assert joined.chosen("all") == joined.linears


def test_without_a_choice_of_the_user_no_layer_is_left_out() -> None:
    hybrid = read_architecture_shapes(TINY_FAMILIES["nemotron_h"])
    paths = {each.key for each in hybrid.chosen("qkvo")}
    assert paths == {f"mixer.{name}_proj" for name in ("q", "k", "v", "o")}
    assert hybrid.chosen("qkvo", is_required=False) == hybrid.linears
    assert hybrid.chosen("q_proj,k_proj", is_required=False) == hybrid.linears


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float32])
def test_wide_parameters_stay_wide(dtype: mx.Dtype) -> None:
    name = str(dtype).rpartition(".")[2]
    for kind in ("nemotron_h", "qwen3_5", "deepseek_v3"):
        config = {**TINY_FAMILIES[kind], "torch_dtype": name}
        held = sum(array.nbytes for _, array in tree_flatten(built(config).parameters()))
        assert read_architecture_shapes(config).weight_bytes(None, 1) == held
