"""Keys that a config.json lacks, as mlx-lm fills them."""

from __future__ import annotations

import pytest

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.known_config import known_config

from support.mlx_lm_defaults import TABLE, mlx_lm_folder, read_defaults, written
from support.tiny_families import TINY_FAMILIES


@pytest.mark.repeats
def test_the_table_of_defaults_is_that_of_the_installed_mlx_lm() -> None:
    assert TABLE.read_text(encoding="utf-8") == written(read_defaults(mlx_lm_folder())), (
        "python tests/support/mlx_lm_defaults.py"
    )


def test_a_key_of_config_json_counts_more_than_a_default() -> None:
    known = known_config({"model_type": "gpt_oss", "hidden_size": 64})
    assert (known.size("hidden_size"), known.size("vocab_size")) == (64, 201_088)


def test_a_type_that_mlx_lm_builds_as_another_has_its_defaults() -> None:
    assert known_config({"model_type": "mistral"}).model_type == "llama"
    assert known_config({"model_type": "kimi_k2"}).model_type == "deepseek_v3"
    assert known_config({"model_type": "qwen3_5_moe"}).size("full_attention_interval") == 4
    assert known_config({}).model_type == ""


def test_gemma_3_leaves_words_and_heads_out() -> None:
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 256}
    text = {**sizes, "model_type": "gemma3_text", "sliding_window": 64}
    found = read_architecture_shapes({"model_type": "gemma3", "text_config": text})
    own = found.layers[0].attention
    assert own is not None
    assert (found.vocab_size, own.heads, own.key_heads, own.head_dim) == (262_208, 8, 4, 256)
    wide = {"model_type": "gemma3", "vocab_size": 1000, "text_config": {**text, "vocab_size": 7}}
    assert read_architecture_shapes(wide).vocab_size == 1000


def test_a_text_part_of_a_type_of_its_own_is_read_as_the_whole_model_is() -> None:
    tiny = TINY_FAMILIES["qwen3_5"]
    text = {**tiny, "model_type": "qwen3_5_text"}
    found = read_architecture_shapes({"model_type": "qwen3_5", "text_config": text})
    assert found.parameters == read_architecture_shapes(tiny).parameters
    assert found.linears == read_architecture_shapes(tiny).linears


@pytest.mark.parametrize("key", ["moe_intermediate_size", "num_experts_per_tok", "head_dim"])
def test_a_key_without_a_default_is_named(key: str) -> None:
    config = {k: v for k, v in TINY_FAMILIES["qwen3_moe"].items() if k != key}
    with pytest.raises(ModelError, match=f"config.json: {key}: it is missing"):
        read_architecture_shapes(config)
