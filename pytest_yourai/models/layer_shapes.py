"""What a transformer layer consists of: its linear layers, and what their surroundings compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.figures import Count


@dataclass(frozen=True, slots=True)
class LinearShape:
    """A linear layer of a transformer layer; `key` is its path there, as mlx-lm's LoRA keys are."""

    key: str
    inputs: Count
    outputs: Count
    copies: Count = 1
    """Number of such layers side by side: the experts of a mixture."""
    own_bits: Count = 0
    """Bits, in groups of 64, that mlx-lm takes for it in a quantized model; 0: the model's."""

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def parameters_per_rank(self) -> int:
        """Parameters of its adapter per rank: A is inputs × rank, B rank × outputs."""
        return (self.inputs + self.outputs) * self.copies

    @property
    def parameters(self) -> int:
        """Elements of its weights, without a bias."""
        return self.inputs * self.outputs * self.copies


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention, in elements of a head. `scores` counts arrays of its scores that stay."""

    heads: int
    key_heads: int
    head_dim: int
    value_dim: int
    scores: int = 1
    """Where attention is not fused: the softmax, and soft caps."""
    can_fuse: bool = True
    """False for what MLX's fused kernels cannot do in training, such as scores added to a mask."""
    has_sinks: bool = False
    """True where each head has a sink, which its scores are joined with in the backward pass."""
    rotates_joined: bool = False
    """True where rotary embeddings are given slices of one array, and rotate them whole."""

    @property
    def queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def outputs(self) -> int:
        return self.heads * self.value_dim

    @property
    def elements(self) -> int:
        """Queries, keys and values of one token."""
        return self.queries + self.key_heads * (self.head_dim + self.value_dim)

    @property
    def gaps(self) -> int:
        """Unused elements between rotated queries, and keys, that lie as slices of one array.

        MLX's CUDA backend gives what it rotates the strides of what it is given (rope.cu).
        """
        rotated = self.queries + self.key_heads * self.head_dim
        return 2 * self.elements - rotated if self.rotates_joined else 0


@dataclass(frozen=True, slots=True)
class Stage:
    """Linear layers that read the same vectors, and what the computation after them keeps.

    Counts of elements are for each row; a token has as many `rows` as experts that it is routed to.
    """

    linears: tuple[LinearShape, ...] = ()
    kept: int = 0
    """Elements in the model's own type that the backward pass needs."""
    kept_wide: int = 0
    """Elements in float32 that it needs."""
    chunk_heads: int = 0
    """Heads of a state space: float32 arrays for each pair of positions in a chunk of the row."""
    rows: int = 1
    attention: Attention | None = None
    states: int = 0
    """Those of `kept_wide` that a loop over the positions of a row keeps, and frees backwards."""
    sliced: int = 0
    """Elements of the gradients of slices, each for one position and as large as all positions."""

    @property
    def inputs(self) -> int:
        """Elements that the linear layers read of a row."""
        return self.linears[0].inputs if self.linears else 0


@dataclass(frozen=True, eq=False)
class LayerShapes:
    """A transformer layer: its stages in the order of computation. Sizes in elements.

    Layers that are alike are one object, so that telling them apart costs nothing.
    """

    stages: tuple[Stage, ...]
    inner: int
    """What the widest of its MLPs keeps between its linear layers, for each token."""
    vectors: int
    """Parameters that are never quantized: norms, biases, convolutions."""
    wide_vectors: int = 0
    """Those of them that stay float32 whatever the model is."""
    fixed: tuple[LinearShape, ...] = ()
    """Matrices that are quantized, and take no adapters."""
    unquantized: tuple[LinearShape, ...] = ()
    """Matrices that stay in full precision, and take no adapters."""

    @cached_property
    def linears(self) -> tuple[LinearShape, ...]:
        """Linear layers that can have adapters."""
        return tuple(linear for stage in self.stages for linear in stage.linears)

    @cached_property
    def attention(self) -> Attention | None:
        return next((stage.attention for stage in self.stages if stage.attention), None)

    @property
    def quantizable(self) -> tuple[LinearShape, ...]:
        """Matrices but those that always stay in full precision."""
        return (*self.linears, *self.fixed)

    @cached_property
    def parameters(self) -> int:
        matrices = sum(each.parameters for each in (*self.linears, *self.fixed, *self.unquantized))
        return matrices + self.vectors + self.wide_vectors


Layers = tuple[LayerShapes, ...]
"""The layers of a model, the first one first; those that are alike are one object."""
