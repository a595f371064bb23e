"""Memory of one LoRA training step beyond weights, adapters and optimizer state. Bytes.

The terms follow what mlx-lm 0.32 keeps while it trains. Adapters are float32 whatever the model
is, so that the input of an adapted layer is kept as a float32 copy. Of a transformer layer with
adapters the backward pass needs, for each token: both residual inputs, queries, keys and values,
four vectors of the MLP's inner size, each adapter's inner product, and where attention is not fused
the softmax of its scores; of the first such layer only what comes after its first adapter.
Checkpointing keeps one residual input instead, and computes the rest again. All this was derived,
and the measurements agree.

Two moments can be the highest: the loss, with several arrays of the logits' size, and the start of
the backward pass. On top of what lives then comes what is in flight: MLX gives work to a GPU in
batches, and frees nothing of a batch before its end.

The numbers are in `coefficients`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.coefficients import (
    AMPERE,
    HOPPER,
    HOPPER_FLIGHT,
    HOPPER_NAMES,
    METAL,
    ON_CUDA,
    ON_THE_CPU,
    OTHER_CUDA,
    Batches,
    Coefficients,
)
from pytest_yourai.models.architecture import Architecture, LinearShape

_FLOAT32_BYTES = 4

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

_MARGIN_OF_MOMENT = 0.9

_MARGIN_OF_KEPT = 0.02
"""Margins as shares: no measured minimum was more than half of the moment above the estimate."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Memory that one moment of a step adds to what is kept for the backward pass. Bytes.

    `margin_bytes` is how far measured steps may be above the estimate.
    """

    activations_bytes: float
    logits_bytes: float
    in_flight_bytes: float
    margin_bytes: float

    @property
    def sum_bytes(self) -> float:
        """Total of the moment, without the margin."""
        return self.activations_bytes + self.logits_bytes + self.in_flight_bytes


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step of `config`, with adapters on `adapted` in each of the last layers."""

    shapes: Architecture
    adapted: tuple[LinearShape, ...]
    config: LoraConfig
    backend: Backend
    device: str

    @property
    def layers(self) -> int:
        """Number of layers with adapters."""
        return min(self.config.num_layers, self.shapes.num_hidden_layers)

    @property
    def gradient_bytes_per_parameter(self) -> float:
        """Bytes of gradients that are alive per adapter parameter."""
        return self._coefficients.gradients

    @cached_property
    def kept_bytes(self) -> float:
        """Bytes kept from all layers with adapters until the backward pass, while the loss runs."""
        if self.config.grad_checkpoint:
            return self.layers * self._vector_bytes(self.shapes.hidden_size)
        return (self.layers - 1) * self._layer_bytes + self._first_layer_bytes

    def highest_moment(self, quantization_bits: int | None, group_size: int) -> Moment:
        """The loss or the start of the backward pass, whichever holds more memory."""
        room = self._room(quantization_bits, group_size)
        moments = self._at_the_loss(room), self._in_the_backward_pass(room)
        return max(moments, key=lambda moment: moment.sum_bytes)

    def _at_the_loss(self, room: float) -> Moment:
        flight = HOPPER_FLIGHT
        vectors = self._vector_bytes(self.shapes.hidden_size + self.shapes.intermediate_size)
        in_flight = self._in_flight(
            flight.loss_logits * self._logits_bytes + flight.loss_vectors * vectors,
            flight.loss_adapted * self._adapted_outputs_bytes,
            flight.loss_elements * room,
        )
        return self._moment(0.0, self._coefficients.logits * self._logits_bytes, in_flight)

    def _in_the_backward_pass(self, room: float) -> Moment:
        by, flight = self._coefficients, HOPPER_FLIGHT
        layer = self._layer_bytes - self._kept_scores_bytes
        logits = flight.backward_logits * self._logits_bytes
        if self.config.grad_checkpoint:
            again = self._layer_bytes + by.checkpointed_layer * layer
            again += by.checkpointed_scores * self._scores_bytes
            in_flight = self._in_flight(logits, 0.0, flight.checkpointed_elements * room)
            return self._moment(again, by.checkpointed_logits * self._logits_bytes, in_flight)
        wide = sum(self._inputs_bytes.values())
        in_flight = self._in_flight(
            logits + flight.backward_layer * (layer - wide),
            flight.backward_layer * wide,
            flight.backward_elements * room,
        )
        return self._moment(by.scores * self._scores_bytes + by.layer * layer, 0.0, in_flight)

    def _in_flight(self, own: float, wide: float, most_elements: float) -> float:
        """Bytes of arrays in the model's own type and in float32, as far as a batch holds them."""
        own, wide = self._operations_share * own, self._operations_share * wide
        elements = own / self.shapes.element_bytes + wide / _FLOAT32_BYTES
        return (own + wide) * min(1.0, most_elements / elements) if elements else 0.0

    def _moment(self, activations: float, logits: float, in_flight: float) -> Moment:
        margin = _MARGIN_OF_MOMENT * (activations + logits + in_flight)
        return Moment(activations, logits, in_flight, margin + _MARGIN_OF_KEPT * self.kept_bytes)

    @property
    def _coefficients(self) -> Coefficients:
        return ON_CUDA if self.backend == "cuda" else ON_THE_CPU

    @cached_property
    def _batches(self) -> Batches | None:
        if self.backend == "cpu":
            return None
        if self.backend == "metal":
            return METAL
        if "A100" in self.device:
            return AMPERE
        known = not self.device or any(name in self.device for name in HOPPER_NAMES)
        return HOPPER if known else OTHER_CUDA

    @property
    def _operations_share(self) -> float:
        """Operations of a batch relative to a Hopper's: the share of its arrays in flight."""
        return self._batches.operations / HOPPER.operations if self._batches else 0.0

    def _room(self, quantization_bits: int | None, group_size: int) -> float:
        """Share of a Hopper's full batch that the weights of the head leave for other arrays."""
        if self._batches is None:
            return 0.0
        head = float(self.shapes.vocab_size * self.shapes.hidden_size)
        if quantization_bits is not None:
            head *= quantization_bits / 32 + 2 / group_size
        left = max(0.0, 1 - head / self._batches.elements)
        return left * self._batches.elements / HOPPER.elements

    @property
    def _tokens(self) -> int:
        """Positions in a batch: a row of S tokens feeds S - 1 of them."""
        return self.config.batch_size * (self.config.max_seq_length - 1)

    def _vector_bytes(self, size: int) -> int:
        """Bytes of one vector of `size` for each token, in the model's own type."""
        return self._tokens * size * self.shapes.element_bytes

    @property
    def _logits_bytes(self) -> int:
        return self._vector_bytes(self.shapes.vocab_size)

    @property
    def _adapted_outputs_bytes(self) -> int:
        return _FLOAT32_BYTES * self._tokens * sum(linear.outputs for linear in self.adapted)

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
        return self._vector_bytes(self.shapes.num_attention_heads * rows)

    @property
    def _scores_bytes(self) -> int:
        """Attention scores of one layer, if its backward pass makes them."""
        return 0 if self._has_fused_backward else self._all_scores_bytes

    @property
    def _kept_scores_bytes(self) -> int:
        """Softmax of one layer's scores, if it is kept from the forward pass."""
        return 0 if self._has_fused_forward else self._all_scores_bytes

    @cached_property
    def _inputs_bytes(self) -> dict[str, int]:
        """Float32 copies of what adapted layers read: one per input, not per layer."""
        inputs = {_input_of(linear): linear.inputs for linear in self.adapted}
        return {name: _FLOAT32_BYTES * self._tokens * size for name, size in inputs.items()}

    @cached_property
    def _attention_bytes(self) -> int:
        shapes = self.shapes
        vectors = shapes.queries_size * (1 + self._has_fused_backward) + 2 * shapes.keys_size
        return self._vector_bytes(vectors) + self._kept_scores_bytes

    @property
    def _inner_products_bytes(self) -> int:
        return _FLOAT32_BYTES * self._tokens * self.config.rank * len(self.adapted)

    @cached_property
    def _layer_bytes(self) -> int:
        """Bytes kept from a layer that is not the first with adapters."""
        shapes = self.shapes
        vectors = self._vector_bytes(2 * shapes.hidden_size + 4 * shapes.intermediate_size)
        kept = vectors + self._attention_bytes + sum(self._inputs_bytes.values())
        return kept + self._inner_products_bytes

    @cached_property
    def _first_layer_bytes(self) -> int:
        """Bytes kept from the first layer with adapters: nothing before its first adapter."""
        shapes = self.shapes
        order = ("attention", "output", "mlp", "down")
        first = min((order.index(name) for name in self._inputs_bytes if name in order), default=0)
        kept = self._inner_products_bytes + sum(self._inputs_bytes.values())
        if first < order.index("down"):
            kept += self._vector_bytes(4 * shapes.intermediate_size)
        if first < order.index("mlp"):
            kept += self._vector_bytes(shapes.hidden_size)
        if first < order.index("output"):
            kept += self._attention_bytes
        return kept


def _input_of(linear: LinearShape) -> str:
    """Name of the input of a linear layer: layers with the same input share one copy of it."""
    for inputs, names in _READERS.items():
        if linear.name in names:
            return inputs
    return linear.key
