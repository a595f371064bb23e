"""What a transformer layer keeps for its backward pass, by model type: counts of arrays."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerKind:
    """A layer as llama's; the fields count what others keep in another number, or beyond that.

    Derived from mlx-lm's models, and checked by measurement for the types of `layer_kind`.
    """

    residuals: int = 2
    """Vectors of the hidden size: inputs of norms."""
    inner: int = 4
    """Vectors of the MLP's inner size: swiglu keeps four, gelu six."""
    scores: int = 1
    """Arrays of attention scores, where attention is not fused: the softmax, and soft caps."""
    capped_logits: int = 0
    """Arrays of the logits' size at the loss: soft caps."""
    has_normed_heads: bool = False
    """True where queries and keys pass through norms of their own, which keep their inputs."""
    has_joined_heads: bool = False
    """True where values are a part of one array with queries and keys, which stays for them."""


_LLAMA = LayerKind()

_KINDS = {
    "gemma2": LayerKind(residuals=4, inner=6, scores=2, capped_logits=1),
    "phi3": LayerKind(has_joined_heads=True),
    "qwen3": LayerKind(has_normed_heads=True),
}


def layer_kind(model_type: str) -> LayerKind:
    """The kind of a model type's layers; llama's where nothing else is known."""
    return _KINDS.get(model_type, _LLAMA)
