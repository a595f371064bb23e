"""Parts of transformer layers as mlx-lm builds them, and what their backward pass keeps.

Derived from mlx-lm's models: of two factors the backward pass keeps both, of a norm the input, of
frozen linear layers nothing, and of a slice the whole array that it is a part of.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.models.known_config import KnownConfig
from pytest_yourai.models.layer_shapes import Attention, LayerShapes, LinearShape, Stage

SWIGLU = 4
"""Arrays of the inner size that swiglu keeps: gate, its sigmoid, their product, and up."""

GELU = 6
"""The same of gelu in tanh's approximation, with up."""

CLIPPED_SWIGLU = 7
"""The same of gpt-oss's: both halves before and after they are clipped, too."""

RELU2 = 2

ROUTER_BITS = 8

CHUNK_POSITIONS = 256
"""Positions of a chunk of a state space (mlx_lm/models/ssm.py)."""

CHUNK_ARRAYS = 3
"""Float32 arrays that it keeps for each pair of them: products, decay, and both together."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")

_STATES = 2
"""States for each position that a gated delta net keeps: before and after their decay."""

_SLICED_KEYS, _SLICED_VALUES = 7 / 4, 3 / 4
"""Share of the gradients of its slices of queries and keys, and of values, that live at once.

MLX fills up the gradient of a slice with zeros to the whole row (Slice::vjp), and in the order in
which it evaluates most are there before it adds the first two: counted in the followed step of a
tiny model with 256 positions.
"""


@dataclass(frozen=True, slots=True)
class Block:
    """Attention, an MLP or what stands for them: stages, and parameters that are no matrices."""

    stages: tuple[Stage, ...]
    vectors: int = 0
    wide_vectors: int = 0
    inner: int = 0
    fixed: tuple[LinearShape, ...] = ()
    unquantized: tuple[LinearShape, ...] = ()


def layer(*blocks: Block) -> LayerShapes:
    return LayerShapes(
        stages=tuple(stage for block in blocks for stage in block.stages),
        inner=max(block.inner for block in blocks),
        vectors=sum(block.vectors for block in blocks),
        wide_vectors=sum(block.wide_vectors for block in blocks),
        fixed=tuple(each for block in blocks for each in block.fixed),
        unquantized=tuple(each for block in blocks for each in block.unquantized),
    )


def norm(size: int, *, parameters: int | None = None) -> Block:
    """A norm, which keeps its input."""
    return Block((Stage(kept=size),), size if parameters is None else parameters)


def biases(stages: tuple[Stage, ...], *names: str) -> int:
    """Elements of the biases of the linear layers of these names."""
    linears = (linear for stage in stages for linear in stage.linears)
    return sum(each.outputs * each.copies for each in linears if each.name in names)


def attention_biases(config: KnownConfig) -> tuple[str, ...]:
    """The projections that have a bias, where config.json asks for one by `attention_bias`."""
    return PROJECTIONS if config.flag("attention_bias") else ()


def attention(
    config: KnownConfig,
    *,
    head_dim: int = 0,
    normed: str = "",
    scores: int = 1,
    can_fuse: bool = True,
    has_sinks: bool = False,
    output: str = "o_proj",
    output_bits: int = 0,
    with_bias: tuple[str, ...] = (),
    gated: bool = False,
) -> Block:
    """Softmax attention with q, k, v and an output; `normed` is "head" or "all" with q/k norms."""
    hidden, own = config.needed("hidden_size"), "self_attn."
    heads = config.needed("num_attention_heads")
    key_heads = config.size("num_key_value_heads") or heads
    if heads % key_heads:
        raise ValueError(f"its {heads} heads are no multiple of {key_heads} heads for keys")
    head_dim = head_dim or hidden // heads
    shape = Attention(heads, key_heads, head_dim, head_dim, scores, can_fuse, has_sinks)
    keys = key_heads * head_dim
    queries = shape.queries * (1 + gated)
    readers = (
        LinearShape(f"{own}q_proj", hidden, queries),
        LinearShape(f"{own}k_proj", hidden, keys),
        LinearShape(f"{own}v_proj", hidden, keys),
    )
    kept = shape.queries + keys if normed else 0
    # Of a gated output: the gate's half of the array that queries are a part of, its sigmoid, and
    # what attention gives.
    kept += 3 * shape.queries if gated else 0
    last = LinearShape(f"{own}{output}", shape.outputs, hidden, own_bits=output_bits)
    stages = (Stage(readers, kept, attention=shape), Stage((last,)))
    sinks = heads if has_sinks else 0
    norms = {"": 0, "head": 2 * head_dim, "all": shape.queries + keys}[normed]
    return Block(stages, norms + sinks + biases(stages, *with_bias))


def joined_attention(
    hidden: int, shape: Attention, *, names: tuple[str, str], kept: int = 0, vectors: int = 0
) -> Block:
    """Attention whose queries, keys and values are one array, which stays for the values."""
    joined = shape.elements
    stages = (
        Stage((LinearShape(names[0], hidden, joined),), kept, attention=shape),
        Stage((LinearShape(names[1], shape.outputs, hidden),)),
    )
    return Block(stages, vectors)


def mlp(
    hidden: int,
    inner: int,
    names: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    *,
    arrays: int = SWIGLU,
    down_bits: int = 0,
    with_bias: bool = False,
    is_joined: bool = False,
) -> Block:
    """An MLP; `is_joined` where one linear layer gives both halves."""
    outputs = inner * (1 + is_joined)
    readers = tuple(LinearShape(name, hidden, outputs) for name in names[:-1])
    down = LinearShape(names[-1], inner, hidden, own_bits=down_bits)
    stages = (Stage(readers, arrays * inner), Stage((down,)))
    linears = (*readers, down)
    vectors = sum(each.outputs for each in linears) if with_bias else 0
    return Block(stages, vectors, inner=inner)


@dataclass(frozen=True, slots=True)
class Experts:
    """Routed experts; `path` is that of their linear layers, `router` that of the router."""

    path: str
    count: int
    each: int
    inner: int
    router: str = ""
    """Empty where it is a plain array, not a linear layer."""
    arrays: int = SWIGLU
    names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    with_bias: bool = False
    has_wide_scores: bool = False
    """True where the router's scores are float32, and so what they weigh."""
    router_bits: int = ROUTER_BITS
    correction: bool = False


def experts(hidden: int, made: Experts, shared: Block | None = None, width: int = 0) -> Block:
    """A mixture: each token passes through some of the experts, and through `shared` ones."""
    width = width or hidden
    count, each = made.count, made.each
    router = LinearShape(made.router, hidden, count, own_bits=made.router_bits)
    readers = tuple(
        LinearShape(f"{made.path}{name}", width, made.inner, count) for name in made.names[:-1]
    )
    down = LinearShape(f"{made.path}{made.names[-1]}", made.inner, width, count)
    # Of what the experts give, its scores' gradient needs all.
    kept, kept_wide = (0, width) if made.has_wide_scores else (width, 0)
    stages = (
        Stage(readers, made.arrays * made.inner, rows=each),
        Stage((down,), kept, kept_wide, rows=each),
    )
    first = Stage((router,) if made.router else (), 2 * count)
    vectors = biases(stages, *made.names) if made.with_bias else 0
    vectors += count if made.with_bias and made.router else 0
    return Block(
        (*_joined(first, shared), *stages),
        vectors + (shared.vectors if shared else 0),
        wide_vectors=count if made.correction else 0,
        inner=each * (made.inner + width) + (shared.inner if shared else 0),
        unquantized=() if made.router else (LinearShape("router", hidden, count),),
    )


def _joined(router: Stage, shared: Block | None) -> tuple[Stage, ...]:
    """The router and shared experts, which read the same."""
    if shared is None:
        return (router,)
    first, *others = shared.stages
    linears, kept = (*router.linears, *first.linears), router.kept + first.kept
    return Stage(linears, kept), *others


def short_conv(hidden: int, kernel: int, *, has_bias: bool) -> Block:
    """LFM2's gated convolution: three parts of one array, and what the convolution gives."""
    stages = (
        Stage((LinearShape("conv.in_proj", hidden, 3 * hidden),), 4 * hidden),
        Stage((LinearShape("conv.out_proj", hidden, hidden),)),
    )
    vectors = hidden * kernel + has_bias * (3 + 1 + 1) * hidden
    return Block(stages, vectors)


@dataclass(frozen=True, slots=True)
class Mamba:
    """A Mamba-2 mixer, in elements: heads of `head_dim`, states of `state` in `groups`."""

    path: str
    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    has_bias: bool = False
    has_conv_bias: bool = False
    has_wide_decay: bool = False
    """True where its decay rates stay float32."""


def mamba(hidden: int, made: Mamba) -> Block:
    """The state space in chunks: attention-like arrays in float32, and a gated norm."""
    inner = made.heads * made.head_dim
    conv = inner + 2 * made.groups * made.state
    projected = inner + conv + made.heads
    kept = projected + 3 * conv + 4 * inner
    wide = 3 * inner + made.heads * made.state + 4 * made.heads
    stages = (
        Stage(
            (LinearShape(f"{made.path}in_proj", hidden, projected),),
            kept,
            kept_wide=wide,
            chunk_heads=made.heads,
        ),
        Stage((LinearShape(f"{made.path}out_proj", inner, hidden),)),
    )
    vectors = conv * (made.kernel + made.has_conv_bias) + inner
    vectors += made.has_bias * (projected + hidden)
    decay = made.heads if made.has_wide_decay else 0
    return Block(stages, vectors + 3 * made.heads - decay, wide_vectors=decay, inner=inner)


def delta_net(config: KnownConfig, path: str = "linear_attn.") -> Block:
    """Qwen's gated delta net, which trains step by step and keeps the states of each."""
    hidden = config.needed("hidden_size")
    value_heads = config.needed("linear_num_value_heads")
    key_heads = config.needed("linear_num_key_heads")
    key_dim, value_dim = (
        config.needed("linear_key_head_dim"),
        config.needed("linear_value_head_dim"),
    )
    keys, values = key_heads * key_dim, value_heads * value_dim
    conv = 2 * keys + values
    readers = tuple(
        LinearShape(f"{path}in_proj_{name}", hidden, outputs)
        for name, outputs in (
            ("qkv", conv),
            ("z", values),
            ("b", value_heads),
            ("a", value_heads),
        )
    )
    # The convolution's output with silu's parts, and normed queries and keys for each value head.
    kept = 3 * conv + 2 * value_heads * key_dim + 4 * values
    states = _STATES * value_heads * value_dim * key_dim
    sliced = round(_SLICED_KEYS * value_heads * key_dim + _SLICED_VALUES * values)
    stages = (
        Stage(readers, kept, kept_wide=states + 4 * values, states=states, sliced=sliced),
        Stage((LinearShape(f"{path}out_proj", values, hidden),)),
    )
    vectors = conv * config.needed("linear_conv_kernel_dim") + value_heads + value_dim
    return Block(stages, vectors, wide_vectors=value_heads, inner=values)
