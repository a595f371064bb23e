"""The shapes that a config.json describes: linear layers, parameters, bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.figures import Bytes, Count
from pytest_yourai.models.config_keys import (
    DEPTH_KEYS,
    HEADS_KEYS,
    element_bytes,
    first_whole,
    flat_config,
    needed,
    whole,
)

EXACT_MODEL_TYPES = ("llama", "mistral", "qwen2")
"""Types whose weights are counted to the byte; for others the lazily built model is inspected."""

_MATRIX = 2
"""Dimensions of the arrays that count as matrices."""

_EXPERTS_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")

PAGE_BYTES = 16384
"""In which Metal's and CUDA's allocators give out memory (MLX 0.32.4)."""


@dataclass(frozen=True, slots=True)
class LinearShape:
    """A linear layer of a transformer layer; `key` is its path there, as mlx-lm's LoRA keys are."""

    key: str
    inputs: Count
    outputs: Count
    copies: Count = 1
    """Number of such layers side by side: the experts of a mixture."""

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def parameters_per_rank(self) -> int:
        """Parameters of its adapter per rank: A is inputs × rank, B rank × outputs."""
        return (self.inputs + self.outputs) * self.copies


@dataclass(frozen=True, slots=True)
class LayerArrays:
    """The arrays of one transformer layer that full fine-tuning trains, in elements and bytes.

    `factors` counts the rows and columns of each matrix and the elements of each vector.
    """

    matrices: Count
    parameters: Count
    factors: Count
    held_bytes: Bytes

    @classmethod
    def of(cls, arrays: Iterable[tuple[Sequence[int], int]]) -> LayerArrays:
        """Those of `arrays`, each a shape and its bytes."""
        matrices = parameters = factors = held_bytes = 0
        for shape, size in arrays:
            parameters += math.prod(shape)
            held_bytes += size
            if len(shape) < _MATRIX:
                factors += math.prod(shape)
            else:
                matrices += 1
                factors += math.prod(shape[:-2]) * sum(shape[-2:])
        return cls(matrices, parameters, factors, held_bytes)


@dataclass(frozen=True, slots=True)
class InspectedShapes:
    """Exact shapes of the built model. Bytes.

    `weight_bytes` is what MLX holds once it is loaded; `linears` get adapters in its last layer;
    `adapter_parameters_per_rank` and `layers` are of each transformer layer, the first one first,
    `layers` empty where it is not known.
    """

    weight_bytes: Bytes
    linears: tuple[LinearShape, ...]
    adapter_parameters_per_rank: tuple[Count, ...]
    layers: tuple[LayerArrays, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """The parts of a config.json that decide about memory. Sizes in elements."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    element_bytes: int
    has_own_head: bool
    linears: tuple[LinearShape, ...]
    """Linear layers of one transformer layer."""
    vector_parameters: int
    """Biases and norms of the whole model: never quantized."""

    @property
    def is_exact(self) -> bool:
        return self.model_type in EXACT_MODEL_TYPES

    @property
    def queries_size(self) -> int:
        return self.num_attention_heads * self.head_dim

    @property
    def keys_size(self) -> int:
        """Elements of the keys of one token, and of its values."""
        return self.num_key_value_heads * self.head_dim

    @property
    def matrix_parameters_per_layer(self) -> int:
        """Parameters of the linear layers of one transformer layer."""
        return sum(linear.inputs * linear.outputs * linear.copies for linear in self.linears)

    @property
    def vector_parameters_per_layer(self) -> int:
        """Biases and norms of one transformer layer."""
        return (self.vector_parameters - self.hidden_size) // self.num_hidden_layers

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole model, before it is quantized."""
        layers = self.num_hidden_layers * self.matrix_parameters_per_layer
        words = (1 + self.has_own_head) * self.vocab_size * self.hidden_size
        return layers + words + self.vector_parameters

    def weight_bytes(self, bits: int | None, group_size: int, page_bytes: int = 1) -> int:
        """Bytes that MLX holds once the model is loaded, in `bits`, or in full precision (None).

        With `page_bytes` each array takes whole pages, as it does from GPU allocators.
        """

        def held(matrices: Iterable[tuple[int, int]]) -> int:
            return sum(
                paged(size, page_bytes)
                for inputs, outputs in matrices
                for size in _array_sizes(inputs, outputs, bits, group_size, self.element_bytes)
            )

        layer = held((linear.inputs, linear.outputs) for linear in self.linears)
        words = held([(self.hidden_size, self.vocab_size)])
        vectors = self.vector_parameters * self.element_bytes
        return vectors + self.num_hidden_layers * layer + (1 + self.has_own_head) * words

    def adapted(self, keys: Iterable[str] | None) -> tuple[LinearShape, ...]:
        """The linear layers that `keys` name, by path or by last component; None names all.

        ModelError for a key that is none of them.
        """
        if keys is None:
            return self.linears
        chosen = []
        for key in keys:
            meant = [each for each in self.linears if key in (each.key, each.name)]
            if not meant:
                there = ", ".join(each.key for each in self.linears)
                raise ModelError(
                    f"LoRA key {key} names no linear layer of the model: {there}; use some of them"
                )
            chosen += meant
        return tuple(dict.fromkeys(chosen))


def read_architecture_shapes(config: Mapping[str, Any]) -> Architecture:
    """The shapes in a config.json mapping; of a model with several parts, those of its text part.

    ModelError, naming the key, where one that is needed is missing.
    """
    flat = flat_config(config)
    if (experts := first_whole(flat, *_EXPERTS_KEYS)) > 1:
        raise ModelError(
            f"config.json: {experts} experts: a mixture of experts cannot be estimated, it must "
            "be measured"
        )
    hidden = needed(flat, "hidden_size", "n_embd", "dim", "d_model")
    depth = needed(flat, *DEPTH_KEYS)
    inner = needed(flat, "intermediate_size", "n_inner", "ffn_dim", "hidden_dim")
    words = needed(flat, "vocab_size")
    heads = needed(flat, *HEADS_KEYS)
    key_heads = whole(flat.get("num_key_value_heads")) or heads
    model_type = str(flat.get("model_type", ""))
    # mlx-lm's qwen2 has no key for it.
    own_head_dim = 0 if model_type == "qwen2" else whole(flat.get("head_dim"))
    head_dim = own_head_dim or hidden // heads
    linears = _linears(hidden, inner, heads * head_dim, key_heads * head_dim)
    return Architecture(
        model_type=model_type,
        hidden_size=hidden,
        num_hidden_layers=depth,
        intermediate_size=inner,
        vocab_size=words,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=head_dim,
        element_bytes=element_bytes(flat),
        has_own_head=not flat.get("tie_word_embeddings", True),
        linears=linears,
        vector_parameters=depth * (2 * hidden + _biases(flat, model_type, linears)) + hidden,
    )


def _linears(hidden: int, inner: int, queries: int, keys: int) -> tuple[LinearShape, ...]:
    return (
        LinearShape("self_attn.q_proj", hidden, queries),
        LinearShape("self_attn.k_proj", hidden, keys),
        LinearShape("self_attn.v_proj", hidden, keys),
        LinearShape("self_attn.o_proj", queries, hidden),
        LinearShape("mlp.gate_proj", hidden, inner),
        LinearShape("mlp.up_proj", hidden, inner),
        LinearShape("mlp.down_proj", inner, hidden),
    )


def _biases(flat: Mapping[str, Any], model_type: str, linears: tuple[LinearShape, ...]) -> int:
    """Bias parameters of one layer, as mlx-lm builds these models."""
    with_bias: set[str] = set()
    if model_type == "qwen2":
        with_bias |= {"q_proj", "k_proj", "v_proj"}
    # mlx-lm builds mistral models as llama ones.
    if model_type in ("llama", "mistral") and flat.get("attention_bias"):
        with_bias |= {"q_proj", "k_proj", "v_proj", "o_proj"}
    if model_type in ("llama", "mistral") and flat.get("mlp_bias"):
        with_bias |= {"gate_proj", "up_proj", "down_proj"}
    return sum(linear.outputs for linear in linears if linear.name in with_bias)


def _array_sizes(
    inputs: int, outputs: int, bits: int | None, group_size: int, element_bytes: int
) -> tuple[int, ...]:
    """Bytes of a matrix; of a quantized one also of its scales and its biases."""
    elements = inputs * outputs
    # A matrix whose rows do not divide into groups stays as it is (mlx_lm.utils.quantize_model).
    if bits is None or inputs % group_size:
        return (elements * element_bytes,)
    scales = elements // group_size * element_bytes
    return elements * bits // 8, scales, scales


def paged(size: int, page_bytes: int) -> int:
    """Bytes that an allocator of pages takes for `size` bytes: small arrays share a page."""
    return -(-size // page_bytes) * page_bytes if size > page_bytes else size
