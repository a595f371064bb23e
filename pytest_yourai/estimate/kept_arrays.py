"""Arrays of transformer layers that a training step keeps for its backward pass. Bytes.

They follow from what mlx-lm 0.32 trains. Of a layer as llama's (`layer_kinds` has others) the
backward pass needs, for each token: both residual inputs, queries, keys and values, four vectors of
the MLP's inner size, and where attention is not fused the softmax of its scores; of the first layer
with adapters only what comes after its first adapter. Beyond that it needs

- with adapters, which are float32 whatever the model is: a float32 copy of what adapted layers
  read, shared by those that read the same, and each adapter's inner product;
- with dropout: instead of that copy the input itself, and for each adapted layer its dropped copy
  in float32 and its mask, a byte an element;
- with DoRA: what each adapted layer gives before it is scaled to its magnitude, and where the model
  is quantized the layer's dequantized weights;
- with full fine-tuning: what every linear layer reads, and the whole of the first layer.

All this was derived, and the measurements agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.layer_kinds import LayerKind, layer_kind
from pytest_yourai.models.architecture import Architecture, LinearShape

_FLOAT32_BYTES = 4

_MASK_BYTES = 1

_FUSED_ATTENTION_ROWS = 128
"""MLX's fused backward attention takes whole multiples of this length (mlx/backend/cuda)."""

_LARGEST_FUSED_HEAD = 128

_READERS = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    "output": ("o_proj", "out_proj", "dense"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "fc1"),
    "down": ("down_proj", "fc2"),
}
"""Linear layers that read the same input, in the order of a layer's computation."""


@dataclass(frozen=True)
class KeptArrays:
    """Arrays of a layer in a step of `config`; `adapted` are the layer's linears with adapters."""

    shapes: Architecture
    adapted: tuple[LinearShape, ...]
    config: LoraConfig
    is_quantized: bool
    backend: Backend

    @property
    def tokens(self) -> int:
        """Positions in a batch: a row of S tokens feeds S - 1 of them."""
        return self.config.batch_size * (self.config.max_seq_length - 1)

    def vector_bytes(self, size: int) -> int:
        """Bytes of one vector of `size` for each token, in the model's own type."""
        return self.tokens * size * self.shapes.element_bytes

    @cached_property
    def layer_bytes(self) -> int:
        """Bytes kept from a layer that is not the first with adapters."""
        shapes = self.shapes
        residuals = self.kind.residuals * shapes.hidden_size
        vectors = self.vector_bytes(residuals + self.kind.inner * shapes.intermediate_size)
        return vectors + self._attention_bytes + self._trained_bytes

    @cached_property
    def first_layer_bytes(self) -> int:
        """Bytes kept from the first trained layer: nothing before its first trained part."""
        if self._is_full:
            return self.layer_bytes
        shapes = self.shapes
        order = ("attention", "output", "mlp", "down")
        first = min((order.index(name) for name in self._inputs if name in order), default=0)
        kept = self._trained_bytes
        if first < order.index("down"):
            kept += self.vector_bytes(self.kind.inner * shapes.intermediate_size)
        if first < order.index("mlp"):
            kept += self.vector_bytes((self.kind.residuals - 1) * shapes.hidden_size)
        if first < order.index("output"):
            kept += self._attention_bytes
        return kept

    @cached_property
    def wide_bytes(self) -> int:
        """Float32 copies of what adapted layers read."""
        if self._is_full:
            return 0
        read = self.adapted if self.config.dropout else self._inputs.values()
        return _FLOAT32_BYTES * self.tokens * sum(linear.inputs for linear in read)

    @cached_property
    def weights_bytes(self) -> int:
        """Dequantized weights of a layer, of which DoRA takes the norms."""
        if not (self._is_dora and self.is_quantized):
            return 0
        elements = sum(linear.inputs * linear.outputs for linear in self.adapted)
        return elements * self.shapes.element_bytes

    @property
    def scores_bytes(self) -> int:
        """Attention scores of one layer, if its backward pass makes them."""
        return 0 if self._has_fused_backward else self._all_scores_bytes

    @property
    def kept_scores_bytes(self) -> int:
        """Softmax of one layer's scores, and soft caps, if they are kept from the forward pass."""
        return 0 if self._has_fused_forward else self.kind.scores * self._all_scores_bytes

    @cached_property
    def kind(self) -> LayerKind:
        """What layers of the model keep beside what is trained."""
        return layer_kind(self.shapes.model_type)

    @property
    def _is_full(self) -> bool:
        return self.config.fine_tune_type is FineTuneType.FULL

    @property
    def _is_dora(self) -> bool:
        return self.config.fine_tune_type is FineTuneType.DORA

    @property
    def _has_fused_backward(self) -> bool:
        """True if CUDA's attention is fused in both directions."""
        rows = self.config.max_seq_length - 1
        return self._has_fused_forward and rows % _FUSED_ATTENTION_ROWS == 0

    @property
    def _has_fused_forward(self) -> bool:
        head_dim = self.shapes.head_dim
        fits = head_dim <= _LARGEST_FUSED_HEAD and head_dim % 8 == 0
        return self.backend == "cuda" and fits and self.shapes.element_bytes != _FLOAT32_BYTES

    @property
    def _all_scores_bytes(self) -> int:
        rows = self.config.max_seq_length - 1
        return self.vector_bytes(self.shapes.num_attention_heads * rows)

    @cached_property
    def _attention_bytes(self) -> int:
        shapes = self.shapes
        heads = shapes.queries_size + shapes.keys_size
        vectors = heads + shapes.keys_size + self._has_fused_backward * shapes.queries_size
        vectors += (self.kind.has_normed_heads + self.kind.has_joined_heads) * heads
        return self.vector_bytes(vectors) + self.kept_scores_bytes

    @cached_property
    def _inputs(self) -> dict[str, LinearShape]:
        """A reader of each input of linear layers that are trained."""
        read = self.shapes.linears if self._is_full else self.adapted
        return {_input_of(linear): linear for linear in read}

    @cached_property
    def _trained_bytes(self) -> int:
        """What is kept because linear layers or their adapters are trained."""
        own = self.vector_bytes(sum(linear.inputs for linear in self._inputs.values()))
        if self._is_full:
            return own
        inner = _FLOAT32_BYTES * self.tokens * self.config.rank * len(self.adapted)
        kept = inner + self.wide_bytes + self.weights_bytes
        if self.config.dropout:
            masks = self.tokens * sum(linear.inputs for linear in self.adapted)
            kept += own + _MASK_BYTES * masks
        if self._is_dora:
            kept += self.vector_bytes(sum(linear.outputs for linear in self.adapted))
        return kept


def _input_of(linear: LinearShape) -> str:
    """Name of the input of a linear layer: layers with the same input share one copy of it."""
    for inputs, names in _READERS.items():
        if linear.name in names:
            return inputs
    return linear.key
