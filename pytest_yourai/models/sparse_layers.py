"""Layers of mixtures of experts, as mlx-lm builds them from config.json."""

from __future__ import annotations

from pytest_yourai.models.dense_layers import depth, same
from pytest_yourai.models.known_config import KnownConfig
from pytest_yourai.models.layer_blocks import (
    CLIPPED_SWIGLU,
    PROJECTIONS,
    Block,
    Experts,
    attention,
    experts,
    layer,
    mlp,
    norm,
)
from pytest_yourai.models.layer_shapes import Attention, Layers, LinearShape, Stage


def gpt_oss(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    count, each = config.needed("num_local_experts"), config.needed("num_experts_per_tok")
    own = attention(
        config,
        head_dim=config.needed("head_dim"),
        has_sinks=True,
        with_bias=PROJECTIONS,
    )
    routed = Experts(
        "mlp.experts.",
        count,
        each,
        inner,
        router="mlp.router",
        arrays=CLIPPED_SWIGLU,
        with_bias=True,
    )
    return same(config, layer(norm(hidden), own, norm(hidden), experts(hidden, routed)))


def qwen3_moe(config: KnownConfig) -> Layers:
    hidden = config.needed("hidden_size")
    own = attention(config, head_dim=config.needed("head_dim"), normed="head")
    count = config.size("num_experts")
    dense = layer(norm(hidden), own, norm(hidden), mlp(hidden, config.needed("intermediate_size")))
    if not count:
        return same(config, dense)
    routed = Experts(
        "mlp.switch_mlp.",
        count,
        config.needed("num_experts_per_tok"),
        config.needed("moe_intermediate_size"),
        router="mlp.gate",
    )
    sparse = layer(norm(hidden), own, norm(hidden), experts(hidden, routed))
    only_dense, step = config.listed("mlp_only_layers"), config.size("decoder_sparse_step") or 1
    return tuple(
        sparse if index not in only_dense and (index + 1) % step == 0 else dense
        for index in range(depth(config))
    )


def deepseek(config: KnownConfig) -> Layers:
    hidden = config.needed("hidden_size")
    own = _latent_attention(config)
    names = tuple(f"mlp.{name}_proj" for name in ("gate", "up", "down"))
    dense = layer(
        norm(hidden), own, norm(hidden), mlp(hidden, config.needed("intermediate_size"), names)
    )
    if not (count := config.size("n_routed_experts")):
        return same(config, dense)
    inner = config.needed("moe_intermediate_size")
    is_third = config.model_type == "deepseek_v3"
    shared = None
    if several := config.size("n_shared_experts"):
        names = tuple(f"mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down"))
        shared = mlp(hidden, inner * several, names)
    routed = Experts(
        "mlp.switch_mlp.",
        count,
        config.needed("num_experts_per_tok"),
        inner,
        has_wide_scores=is_third,
        correction=is_third,
    )
    sparse = layer(norm(hidden), own, norm(hidden), experts(hidden, routed, shared))
    first, step = config.size("first_k_dense_replace"), config.size("moe_layer_freq") or 1
    return tuple(
        sparse if index >= first and index % step == 0 else dense for index in range(depth(config))
    )


def _latent_attention(config: KnownConfig) -> Block:
    """DeepSeek's: queries, and keys with values, through low ranks."""
    hidden, heads = config.needed("hidden_size"), config.needed("num_attention_heads")
    rotated, plain = config.needed("qk_rope_head_dim"), config.needed("qk_nope_head_dim")
    value_dim, rank = config.needed("v_head_dim"), config.needed("kv_lora_rank")
    query_rank = config.size("q_lora_rank")
    is_third = config.model_type == "deepseek_v3"
    queries, own = heads * (rotated + plain), "self_attn."
    down = LinearShape(f"{own}kv_a_proj_with_mqa", hidden, rank + rotated)
    stages: tuple[Stage, ...]
    if query_rank:
        readers = (LinearShape(f"{own}q_a_proj", hidden, query_rank), down)
        up = LinearShape(f"{own}q_b_proj", query_rank, queries)
        stages = (Stage(readers, query_rank + rank + rotated), Stage((up,)))
    else:
        readers = (LinearShape(f"{own}q_proj", hidden, queries), down)
        stages = (Stage(readers, rank + rotated),)
    shape = Attention(heads, heads, rotated + plain, value_dim)
    vectors = rank + query_rank
    if config.flag("attention_bias"):
        vectors += (query_rank or 0) + rank + rotated + hidden
    output = Stage((LinearShape(f"{own}o_proj", heads * value_dim, hidden),))
    if is_third:
        # Its scores of positions are added to a mask; keys and values come from one latent vector.
        shape = Attention(heads, heads, plain, value_dim, can_fuse=False)
        latent = Stage(kept=heads * rotated + rotated, attention=shape)
        fixed = (
            LinearShape(f"{own}embed_q", plain, rank, heads),
            LinearShape(f"{own}unembed_out", rank, value_dim, heads),
        )
        return Block((*stages, latent, output), vectors, fixed=fixed)
    expand = LinearShape(f"{own}kv_b_proj", rank, heads * (plain + value_dim))
    # Values are a part of one array with the unrotated keys, which stays for them.
    latent = Stage((expand,), heads * plain, attention=shape)
    return Block((*stages, latent, output), vectors)
