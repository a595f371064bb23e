"""What one LoRA training step holds beyond weights, adapters and the optimizer's state. Bytes.

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

The numbers in `_Coefficients` are fitted to minimum memory measured by tests/performance/floors.py
with MLX 0.32.4 and mlx-lm 0.32.2: CUDA's on one H200, with qwen2-0.5b, llama-1b, hermes-mistral-7b,
llama-8b and r1-distill-14b, at all lengths but 512; the CPU's on Linux, with small float32 models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pytest_yourai.architecture import Architecture, Linear
from pytest_yourai.config import LoraConfig

Backend = Literal["cpu", "metal", "cuda"]

_FLOAT32_BYTES = 4

_FUSED_ATTENTION_ROWS = 128
"""MLX's fused backward attention takes sequences of whole multiples (mlx/backend/cuda)."""

_LARGEST_FUSED_HEAD = 128

_READERS = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    "output": ("o_proj", "out_proj", "dense"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "fc1"),
    "down": ("down_proj", "fc2"),
}
"""Which linear layers read the same input, in the order of a layer's computation."""

_MARGIN_OF_MOMENT = 0.9
_MARGIN_OF_KEPT = 0.02
"""No measured minimum was more than half of the moment above the estimate."""


@dataclass(frozen=True, slots=True)
class _Coefficients:
    """What lives at the highest moment, as multiples of the arrays that the names say.

    `gradients` is in bytes for each adapter parameter; `scores` and `layer` are of one layer, in
    its backward pass, without and with checkpointing.
    """

    gradients: float
    logits: float
    scores: float
    layer: float
    checkpointed_layer: float
    checkpointed_scores: float
    checkpointed_logits: float


_ON_CUDA = _Coefficients(
    gradients=0.50,
    logits=1.33,
    scores=1.53,
    layer=0.0,
    checkpointed_layer=1.53,
    checkpointed_scores=5.11,
    checkpointed_logits=0.0,
)
_ON_THE_CPU = _Coefficients(
    gradients=1.4,
    logits=3.03,
    scores=0.81,
    layer=0.36,
    checkpointed_layer=0.51,
    checkpointed_scores=0.99,
    checkpointed_logits=1.71,
)


@dataclass(frozen=True, slots=True)
class _Flight:
    """What is in flight on a Hopper: multiples of arrays, and the most that there is, in 16 bits.

    At the loss: of the logits, of a residual and an inner vector for each token, and of what the
    adapters put out in float32. In the backward pass: of the logits, and of what a layer keeps.
    """

    flight_logits: float = 0.63
    flight_vectors: float = 11.1
    flight_adapted: float = 2.88
    flight_bytes: float = 0.60e9
    backward_logits: float = 2.19
    backward_layer: float = 1.22
    backward_bytes: float = 1.17e9
    checkpointed_bytes: float = 0.99e9


_HOPPER_FLIGHT = _Flight()


@dataclass(frozen=True, slots=True)
class _Batches:
    """How much work MLX gives to the device at once: operations, and elements that they read.

    From MLX's source (0.32.4): mlx/backend/cuda/device.cpp, mlx/backend/metal/device.cpp.
    """

    operations: int
    elements: int


_MIB = 1 << 20
_HOPPER = _Batches(100, 1000 * _MIB)
_AMPERE = _Batches(20, 400 * _MIB)
_OTHER_CUDA = _Batches(20, 100 * _MIB)
_METAL = _Batches(50, 50 * _MIB)
_HOPPER_NAMES = ("H100", "H200", "H20", "GH200", "B100", "B200", "B300", "RTX 50", "RTX PRO")


@dataclass(frozen=True, slots=True)
class Moment:
    """What the highest moment of a step adds to what the backward pass keeps. Bytes.

    `margin_bytes` is what measured steps may be above the estimate.
    """

    activations_bytes: float
    logits_bytes: float
    in_flight_bytes: float
    margin_bytes: float

    @property
    def sum_bytes(self) -> float:
        return self.activations_bytes + self.logits_bytes + self.in_flight_bytes


@dataclass(frozen=True)
class StepMemory:
    """A step of `config` on a model of `shapes`, with adapters on `adapted` of its last layers."""

    shapes: Architecture
    adapted: tuple[Linear, ...]
    config: LoraConfig
    layers: int
    backend: Backend
    device: str

    @property
    def gradient_bytes_per_parameter(self) -> float:
        return self._coefficients.gradients

    @cached_property
    def kept_bytes(self) -> float:
        """What the backward pass needs of all layers with adapters, while the loss is computed."""
        if self.config.grad_checkpoint:
            return self.layers * self._vector_bytes(self.shapes.hidden_size)
        return (self.layers - 1) * self._layer_bytes + self._first_layer_bytes

    def highest_moment(self, quantization_bits: int | None, group_size: int) -> Moment:
        """The loss or the start of the backward pass, whichever holds more."""
        room = self._room(quantization_bits, group_size)
        moments = self._at_the_loss(room), self._in_the_backward_pass(room)
        return max(moments, key=lambda moment: moment.sum_bytes)

    def _at_the_loss(self, room: float) -> Moment:
        by = self._coefficients
        flight = _HOPPER_FLIGHT
        shapes = self.shapes
        most = (
            flight.flight_logits * self._logits_bytes
            + flight.flight_vectors
            * self._vector_bytes(shapes.hidden_size + shapes.intermediate_size)
            + flight.flight_adapted * self._adapted_outputs_bytes
        )
        in_flight = min(self._operations_share * most, flight.flight_bytes * room)
        return self._moment(0.0, by.logits * self._logits_bytes, in_flight)

    def _in_the_backward_pass(self, room: float) -> Moment:
        by = self._coefficients
        flight = _HOPPER_FLIGHT
        layer = self._layer_bytes - self._kept_scores_bytes
        if self.config.grad_checkpoint:
            again = self._layer_bytes + by.checkpointed_layer * layer
            again += by.checkpointed_scores * self._scores_bytes
            logits = flight.backward_logits * self._operations_share * self._logits_bytes
            in_flight = min(logits, flight.checkpointed_bytes * room)
            return self._moment(again, by.checkpointed_logits * self._logits_bytes, in_flight)
        most = flight.backward_logits * self._logits_bytes + flight.backward_layer * layer
        in_flight = min(self._operations_share * most, flight.backward_bytes * room)
        return self._moment(by.scores * self._scores_bytes + by.layer * layer, 0.0, in_flight)

    def _moment(self, activations: float, logits: float, in_flight: float) -> Moment:
        margin = _MARGIN_OF_MOMENT * (activations + logits + in_flight)
        return Moment(activations, logits, in_flight, margin + _MARGIN_OF_KEPT * self.kept_bytes)

    @property
    def _coefficients(self) -> _Coefficients:
        return _ON_CUDA if self.backend == "cuda" else _ON_THE_CPU

    @cached_property
    def _batches(self) -> _Batches | None:
        if self.backend == "cpu":
            return None
        if self.backend == "metal":
            return _METAL
        if "A100" in self.device:
            return _AMPERE
        known = not self.device or any(name in self.device for name in _HOPPER_NAMES)
        return _HOPPER if known else _OTHER_CUDA

    @property
    def _operations_share(self) -> float:
        """Of the operations of a Hopper's batch: how much of what it holds is in flight."""
        return self._batches.operations / _HOPPER.operations if self._batches else 0.0

    def _room(self, quantization_bits: int | None, group_size: int) -> float:
        """The share of a Hopper's full batch, in 16 bits, that the head's weights leave."""
        if self._batches is None:
            return 0.0
        head = float(self.shapes.vocab_size * self.shapes.hidden_size)
        if quantization_bits is not None:
            head *= quantization_bits / 32 + 2 / group_size
        left = max(0.0, 1 - head / self._batches.elements)
        return left * self._batches.elements / _HOPPER.elements * self.shapes.element_bytes / 2

    @property
    def _tokens(self) -> int:
        """A row of S tokens feeds S - 1 positions."""
        return self.config.batch_size * (self.config.max_seq_length - 1)

    def _vector_bytes(self, size: int) -> int:
        """Of one vector for each token, in the model's own type."""
        return self._tokens * size * self.shapes.element_bytes

    @property
    def _logits_bytes(self) -> int:
        return self._vector_bytes(self.shapes.vocab_size)

    @property
    def _adapted_outputs_bytes(self) -> int:
        return _FLOAT32_BYTES * self._tokens * sum(linear.outputs for linear in self.adapted)

    @property
    def _has_fused_backward(self) -> bool:
        """Whether CUDA's attention is fused in both directions."""
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
        """The scores of one layer where its backward pass makes them."""
        return 0 if self._has_fused_backward else self._all_scores_bytes

    @property
    def _kept_scores_bytes(self) -> int:
        """The softmax of one layer's scores, kept from the forward pass."""
        return 0 if self._has_fused_forward else self._all_scores_bytes

    @cached_property
    def _inputs_bytes(self) -> dict[str, int]:
        """Float32 copies of what adapted layers read: one for each input, not for each layer."""
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
        """What the backward pass needs of a layer that is not the first with adapters."""
        shapes = self.shapes
        vectors = self._vector_bytes(2 * shapes.hidden_size + 4 * shapes.intermediate_size)
        kept = vectors + self._attention_bytes + sum(self._inputs_bytes.values())
        return kept + self._inner_products_bytes

    @cached_property
    def _first_layer_bytes(self) -> int:
        """Of the first layer with adapters: nothing before its first adapter has a gradient."""
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


def _input_of(linear: Linear) -> str:
    """What a linear layer reads: layers that read the same share one copy of it."""
    for inputs, names in _READERS.items():
        if linear.name in names:
            return inputs
    return linear.key
