"""Layers of hybrids of attention with convolutions and state spaces, as mlx-lm builds them."""

from __future__ import annotations

from pytest_yourai.models.dense_layers import depth
from pytest_yourai.models.known_config import KnownConfig
from pytest_yourai.models.layer_blocks import (
    RELU2,
    Block,
    Experts,
    Mamba,
    attention,
    attention_biases,
    delta_net,
    experts,
    layer,
    mamba,
    mlp,
    norm,
    short_conv,
)
from pytest_yourai.models.layer_shapes import Layers, LinearShape, Stage

_NEMOTRON_BLOCKS = {
    "full_attention": "*",
    "attention": "*",
    "linear_attention": "M",
    "mamba": "M",
    "conv": "M",
    "moe": "E",
    "mlp": "-",
}


def qwen3_5(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.size("intermediate_size")
    head_dim = config.size("head_dim") or hidden // config.needed("num_attention_heads")
    with_bias = attention_biases(config)
    full = attention(config, head_dim=head_dim, normed="head", gated=True, with_bias=with_bias)
    linear = delta_net(config)
    if count := config.size("num_experts"):
        shared = _gated_shared(hidden, config.needed("shared_expert_intermediate_size"))
        routed = Experts(
            "mlp.switch_mlp.",
            count,
            config.needed("num_experts_per_tok"),
            config.needed("moe_intermediate_size"),
            router="mlp.gate",
        )
        wide = experts(hidden, routed, shared)
    else:
        wide = mlp(hidden, inner)
    kinds = [layer(norm(hidden), own, norm(hidden), wide) for own in (linear, full)]
    interval = config.needed("full_attention_interval")
    return tuple(kinds[(index + 1) % interval == 0] for index in range(depth(config)))


def _gated_shared(hidden: int, inner: int) -> Block:
    """Shared experts whose output is weighed by a gate of its own."""
    names = tuple(f"mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down"))
    made = mlp(hidden, inner, names)
    first, last = made.stages
    gate = LinearShape("mlp.shared_expert_gate", hidden, 1, own_bits=8)
    stages = (
        Stage((*first.linears, gate), first.kept + 2),
        Stage(last.linears, hidden),
    )
    return Block(stages, inner=inner)


def lfm2(config: KnownConfig) -> Layers:
    hidden = config.needed("hidden_size")
    inner = config.needed("block_ff_dim", "intermediate_size")
    if config.flag("block_auto_adjust_ff_dim"):
        inner = int(2 * inner / 3)
        factor = config.keys.get("block_ffn_dim_multiplier")
        inner = int(factor * inner) if isinstance(factor, int | float) else inner
        multiple = config.needed("block_multiple_of")
        inner = -(-inner // multiple) * multiple
    width = config.size("block_dim") or hidden
    names = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2")
    wide = mlp(width, inner, names)
    own = attention(config, normed="head", output="out_proj")
    conv = short_conv(hidden, config.needed("conv_L_cache"), has_bias=config.flag("conv_bias"))
    kinds = [layer(norm(hidden), each, norm(hidden), wide) for each in (conv, own)]
    full = config.listed("full_attn_idxs") or [
        index for index, kind in enumerate(config.listed("layer_types")) if kind == "full_attention"
    ]
    return tuple(kinds[index in full] for index in range(depth(config)))


def granite_hybrid(config: KnownConfig) -> Layers:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    with_bias = attention_biases(config)
    if count := config.size("num_local_experts"):
        routed = Experts(
            "block_sparse_moe.switch_mlp.",
            count,
            config.needed("num_experts_per_tok"),
            inner,
            router="block_sparse_moe.router.layer",
        )
        names = ("shared_mlp.input_linear", "shared_mlp.output_linear")
        shared = mlp(hidden, config.needed("shared_intermediate_size"), names, is_joined=True)
        wide = experts(hidden, routed, shared)
    else:
        wide = mlp(hidden, inner, with_bias=config.flag("mlp_bias"))
    kinds = {}
    for name in set(config.listed("layer_types")):
        own = _granite_mamba(config) if name == "mamba" else attention(config, with_bias=with_bias)
        kinds[name] = layer(norm(hidden), own, norm(hidden), wide)
    return tuple(kinds[name] for name in config.listed("layer_types"))


def _granite_mamba(config: KnownConfig) -> Block:
    return mamba(
        config.needed("hidden_size"),
        Mamba(
            "mamba.",
            config.needed("mamba_n_heads"),
            config.needed("mamba_d_head"),
            config.needed("mamba_d_state"),
            config.needed("mamba_n_groups"),
            config.needed("mamba_d_conv"),
            has_bias=config.flag("mamba_proj_bias"),
            has_conv_bias=config.flag("mamba_conv_bias"),
        ),
    )


def nemotron_h(config: KnownConfig) -> Layers:
    named = config.listed("layers_block_type") or config.listed("layer_types")
    order = config.listed("hybrid_override_pattern") or [
        _NEMOTRON_BLOCKS.get(str(name), "") for name in named
    ]
    makers = {"M": _nemotron_mamba, "*": _nemotron_attention, "-": _nemotron_mlp}
    makers["E"] = _nemotron_experts
    hidden = config.needed("hidden_size")
    kinds = {name: layer(norm(hidden), makers[name](config)) for name in set(order) & set(makers)}
    return tuple(kinds[name] for name in order if name in kinds)


def _nemotron_attention(config: KnownConfig) -> Block:
    with_bias = attention_biases(config)
    return _moved(attention(config, head_dim=config.size("head_dim"), with_bias=with_bias))


def _moved(block: Block) -> Block:
    """`block` under the name that all of Nemotron-H's have."""
    stages = tuple(
        Stage(
            tuple(
                LinearShape(f"mixer.{each.name}", each.inputs, each.outputs, each.copies)
                for each in stage.linears
            ),
            stage.kept,
            attention=stage.attention,
        )
        for stage in block.stages
    )
    return Block(stages, block.vectors)


def _nemotron_mamba(config: KnownConfig) -> Block:
    return mamba(
        config.needed("hidden_size"),
        Mamba(
            "mixer.",
            config.needed("mamba_num_heads"),
            config.needed("mamba_head_dim"),
            config.needed("ssm_state_size"),
            config.needed("n_groups"),
            config.needed("conv_kernel"),
            has_bias=config.flag("mamba_proj_bias"),
            has_conv_bias=config.flag("use_conv_bias"),
            has_wide_decay=True,
        ),
    )


def _nemotron_mlp(config: KnownConfig) -> Block:
    hidden, inner = config.needed("hidden_size"), config.needed("intermediate_size")
    return mlp(
        hidden,
        inner,
        ("mixer.up_proj", "mixer.down_proj"),
        arrays=RELU2,
        with_bias=config.flag("mlp_bias"),
    )


def _nemotron_experts(config: KnownConfig) -> Block:
    hidden = config.needed("hidden_size")
    shared = None
    if config.size("n_shared_experts"):
        shared = mlp(
            hidden,
            config.needed("moe_shared_expert_intermediate_size"),
            ("mixer.shared_experts.up_proj", "mixer.shared_experts.down_proj"),
            arrays=RELU2,
            with_bias=config.flag("mlp_bias"),
        )
    routed = Experts(
        "mixer.switch_mlp.",
        config.needed("n_routed_experts"),
        config.needed("num_experts_per_tok"),
        config.needed("moe_intermediate_size"),
        arrays=RELU2,
        names=("fc1", "fc2"),
        has_wide_scores=True,
        correction=True,
    )
    latent = config.size("moe_latent_size")
    if not latent:
        return experts(hidden, routed, shared)
    made = experts(hidden, routed, shared, latent)
    before = Stage((LinearShape("mixer.fc1_latent_proj", hidden, latent),))
    after = Stage((LinearShape("mixer.fc2_latent_proj", latent, hidden),))
    vectors = made.vectors + config.flag("mlp_bias") * (latent + hidden)
    return Block(
        (before, *made.stages, after),
        vectors,
        made.wide_vectors,
        made.inner,
        unquantized=made.unquantized,
    )
