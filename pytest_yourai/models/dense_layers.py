"""Layers of dense transformers, as mlx-lm builds them from config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.config_keys import DEPTH_KEYS
from pytest_yourai.models.known_config import KnownConfig
from pytest_yourai.models.layer_blocks import (
    GELU,
    Block,
    attention,
    attention_biases,
    joined_attention,
    layer,
    mlp,
    norm,
)
from pytest_yourai.models.layer_shapes import Attention, Layers, LayerShapes, LinearShape

_MOST_LAYERS = 10_000


def llama(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    with_bias = attention_biases(config)
    one = layer(
        norm(hidden),
        attention(config, head_dim=config.size("head_dim"), with_bias=with_bias),
        norm(hidden),
        mlp(hidden, inner, with_bias=config.flag("mlp_bias")),
    )
    return same(config, one)


def qwen2(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    own = attention(config, with_bias=("q_proj", "k_proj", "v_proj"))
    return same(config, layer(norm(hidden), own, norm(hidden), mlp(hidden, inner)))


def qwen3(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    own = attention(config, head_dim=config.needed("head_dim"), normed="head")
    return same(config, layer(norm(hidden), own, norm(hidden), mlp(hidden, inner)))


def granite(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    with_bias = attention_biases(config)
    own = attention(config, with_bias=with_bias, output_bits=8)
    wide = mlp(hidden, inner, with_bias=config.flag("mlp_bias"), down_bits=8)
    return same(config, layer(norm(hidden), own, norm(hidden), wide))


def gemma2(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    own = attention(config, head_dim=config.needed("head_dim"), scores=2, can_fuse=False)
    return same(config, _four_norms(hidden, own, mlp(hidden, inner, arrays=GELU)))


def gemma3(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    own = attention(config, head_dim=config.needed("head_dim"), normed="head")
    return same(config, _four_norms(hidden, own, mlp(hidden, inner, arrays=GELU)))


def phi3(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    heads = config.needed("num_attention_heads")
    key_heads, head_dim = config.size("num_key_value_heads") or heads, hidden // heads
    shape = Attention(
        heads, key_heads, head_dim, head_dim, rotates_joined=_rotates_whole_heads(config, head_dim)
    )
    own = joined_attention(
        hidden,
        shape,
        names=("self_attn.qkv_proj", "self_attn.o_proj"),
        kept=shape.queries + key_heads * head_dim,
    )
    return same(config, layer(norm(hidden), own, norm(hidden), _joined_mlp(hidden, inner)))


def _rotates_whole_heads(config: KnownConfig, head_dim: int) -> bool:
    """False where mlx-lm's phi3 scales what it rotates, or MLX copies the rest of each head."""
    factor, scaling = config.keys.get("partial_rotary_factor"), config.keys.get("rope_scaling")
    is_partial = isinstance(factor, int | float) and int(head_dim * factor) < head_dim
    is_scaled = isinstance(scaling, Mapping) and scaling.get("type") in ("longrope", "su")
    return not (is_partial or is_scaled)


def glm4(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    with_bias = ("q_proj", "k_proj", "v_proj") if config.flag("attention_bias") else ()
    own = attention(config, head_dim=config.needed("head_dim"), with_bias=with_bias)
    return same(config, _four_norms(hidden, own, _joined_mlp(hidden, inner)))


def olmo2(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    with_bias = attention_biases(config)
    own = attention(config, head_dim=config.size("head_dim"), normed="all", with_bias=with_bias)
    wide = mlp(hidden, inner, with_bias=config.flag("mlp_bias"))
    return same(config, layer(own, norm(hidden), wide, norm(hidden)))


def gpt2(config: KnownConfig) -> Layers:
    hidden, heads = config.needed("n_embd", "hidden_size"), config.needed("n_head")
    shape = Attention(heads, heads, hidden // heads, hidden // heads)
    own = joined_attention(hidden, shape, names=("attn.c_attn", "attn.c_proj"), vectors=4 * hidden)
    wide = mlp(hidden, 4 * hidden, ("mlp.c_fc", "mlp.c_proj"), arrays=GELU - 1, with_bias=True)
    normed = norm(hidden, parameters=2 * hidden)
    return same(config, layer(normed, own, normed, wide))


def openelm(config: KnownConfig) -> Layers:
    hidden, head_dim = config.needed("model_dim"), config.needed("head_dim")
    divisor = config.needed("ffn_dim_divisor")
    kinds: dict[tuple[Any, ...], LayerShapes] = {}
    names = ("num_query_heads", "num_kv_heads", "ffn_multipliers")
    found = []
    for heads, key_heads, factor in zip(*map(config.listed, names), strict=True):
        shape = Attention(heads, key_heads, head_dim, head_dim)
        keys = shape.queries + key_heads * head_dim
        is_normed = config.flag("normalize_qk_projections")
        own = joined_attention(
            hidden,
            shape,
            names=("attn.qkv_proj", "attn.out_proj"),
            kept=keys,
            vectors=is_normed * 2 * head_dim,
        )
        inner = _divisible(factor * hidden, divisor)
        wide = mlp(hidden, inner, ("ffn.proj_1", "ffn.proj_2"), is_joined=True)
        one = layer(norm(hidden), own, norm(hidden), wide)
        found.append(kinds.setdefault((heads, key_heads, inner), one))
    return tuple(found)


def gpt2_positions(config: KnownConfig) -> tuple[LinearShape, ...]:
    width = config.needed("n_embd", "hidden_size")
    return (LinearShape("positions", width, config.needed("n_positions")),)


def _divisible(size: float, divisor: int) -> int:
    """`size` rounded to a multiple of `divisor`, by at most a tenth down (mlx_lm's openelm)."""
    rounded = max(divisor, int(size + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * size else rounded


def _four_norms(hidden: int, own: Block, wide: Block) -> LayerShapes:
    """A layer with norms before and after both of its parts."""
    return layer(norm(hidden), own, norm(hidden), norm(hidden), wide, norm(hidden))


def _joined_mlp(hidden: int, inner: int) -> Block:
    return mlp(hidden, inner, ("mlp.gate_up_proj", "mlp.down_proj"), is_joined=True)


def depth(config: KnownConfig) -> int:
    """The number of layers; ModelError where it is missing, or no model has as many."""
    number = config.needed(*DEPTH_KEYS)
    if number > _MOST_LAYERS:
        raise ModelError(f"config.json: {number} layers: no model has that many: correct it")
    return number


def same(config: KnownConfig, one: LayerShapes) -> Layers:
    return (one,) * depth(config)
