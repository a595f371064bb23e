"""Memory of one training step beyond weights, trained arrays and optimizer state. Bytes.

What layers keep for the backward pass is in `kept_arrays`; checkpointing keeps one residual input
instead, and computes the rest again.

Three moments can be the highest: the loss, with several arrays of the logits' size, the start of
the backward pass, and, where a batch has few tokens for what is trained, the optimizer's turn, by
when all that was kept is gone. On top of what lives then comes what is in flight: MLX gives work to
a GPU in batches, and frees nothing of a batch before its end.

The numbers are in `coefficients`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.coefficients import (
    AMPERE,
    HOPPER,
    HOPPER_FLIGHT,
    HOPPER_NAMES,
    LARGE_METAL,
    LARGE_METAL_NAMES,
    METAL,
    ON_CUDA,
    ON_THE_CPU,
    OPTIMIZER_FLIGHTS,
    OTHER_CUDA,
    Batches,
    Coefficients,
)
from pytest_yourai.estimate.free_peak import FreePeak, LayerWork
from pytest_yourai.estimate.kept_arrays import KeptArrays
from pytest_yourai.estimate.trained_arrays import TrainedArrays
from pytest_yourai.models.architecture import Architecture, LinearShape

_FLOAT32_BYTES = 4

_MARGIN_OF_MOMENT = 0.9

_MARGIN_OF_KEPT = 0.02
"""Margins as shares: no measured minimum was more than half of the moment above the estimate."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Memory of one moment of a step beyond weights, trained arrays and optimizer state. Bytes.

    `margin_bytes` is how far measured steps may be above the estimate.
    """

    activations_bytes: float
    logits_bytes: float
    gradients_bytes: float
    in_flight_bytes: float
    margin_bytes: float

    @property
    def sum_bytes(self) -> float:
        """Total of the moment, without the margin."""
        parts = (self.activations_bytes, self.logits_bytes, self.gradients_bytes)
        return sum(parts) + self.in_flight_bytes


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step that trains the arrays of `trained` in the last `layers` layers.

    `adapted` are the linear layers of one of them that have adapters; `quantization` is the bits of
    the base model, None for full precision, and the group size.
    """

    shapes: Architecture
    adapted: tuple[LinearShape, ...]
    trained: TrainedArrays
    config: LoraConfig
    has_first_moment: bool
    quantization: tuple[int | None, int]
    backend: Backend
    device: str

    @cached_property
    def _kept(self) -> KeptArrays:
        is_quantized = self.quantization[0] is not None
        return KeptArrays(self.shapes, self.adapted, self.config, is_quantized, self.backend)

    @cached_property
    def kept_bytes(self) -> float:
        """Bytes kept from all trained layers until the backward pass, while the loss runs."""
        if self.config.grad_checkpoint:
            return self.trained.layers * self._kept.vector_bytes(self.shapes.hidden_size)
        return (self.trained.layers - 1) * self._kept.layer_bytes + self._kept.first_layer_bytes

    @property
    def highest_moment(self) -> Moment:
        """The loss, the start of the backward pass or the optimizer's turn: what holds most.

        Its margin also covers that of the others: one of them may be the highest in truth.
        """
        room = self._room(*self.quantization)
        moments = self._at_the_loss(room), self._in_the_backward_pass(room), self._at_the_update()
        highest = max(moments, key=lambda moment: moment.sum_bytes)
        most = max(moment.sum_bytes + moment.margin_bytes for moment in moments)
        return dataclasses.replace(highest, margin_bytes=most - highest.sum_bytes)

    def _at_the_update(self) -> Moment:
        """The optimizer's turn, when all that was kept is gone."""
        trained, flight = self.trained, OPTIMIZER_FLIGHTS[self.config.optimizer]
        alive = flight.matrices + flight.wait * trained.matrices
        matrices = min(alive, flight.most * trained.matrices)
        in_flight = matrices * trained.held_bytes / max(trained.matrices, 1)
        margin = _MARGIN_OF_MOMENT * in_flight
        return Moment(0.0, 0.0, self._accumulated_bytes, in_flight, margin)

    @property
    def _accumulated_bytes(self) -> int:
        """The sum of earlier steps' gradients, which the largest step of a cycle holds."""
        return self.trained.held_bytes if self.config.grad_accumulation_steps > 1 else 0

    @property
    def _gradients_bytes(self) -> float:
        """Gradients alive in the backward pass: of the base a layer's, of adapters a share."""
        trained = self.trained
        if self.config.fine_tune_type is FineTuneType.FULL:
            alive = trained.held_bytes / trained.layers
        else:
            alive = self._coefficients.gradients * trained.parameters
        return alive + self._accumulated_bytes

    def _at_the_loss(self, room: float) -> Moment:
        flight = HOPPER_FLIGHT
        vectors = self._kept.vector_bytes(self.shapes.hidden_size + self.shapes.intermediate_size)
        in_flight = self._in_flight(
            flight.loss_logits * self._logits_bytes + flight.loss_vectors * vectors,
            flight.loss_adapted * self._adapted_outputs_bytes,
            flight.loss_elements * room,
        )
        arrays = self._coefficients.logits + self._kept.kind.capped_logits
        return self._moment(0.0, arrays * self._logits_bytes, in_flight)

    def _in_the_backward_pass(self, room: float) -> Moment:
        by, flight = self._coefficients, HOPPER_FLIGHT
        kept = self._kept
        layer = kept.layer_bytes - kept.kept_scores_bytes - kept.weights_bytes
        logits = flight.backward_logits * self._logits_bytes
        if self.config.grad_checkpoint:
            again = kept.layer_bytes + by.checkpointed_layer * layer
            again += by.checkpointed_scores * kept.scores_bytes
            in_flight = self._in_flight(logits, 0.0, flight.checkpointed_elements * room)
            return self._moment(again, by.checkpointed_logits * self._logits_bytes, in_flight)
        wide = kept.wide_bytes
        in_flight = self._in_flight(
            logits + flight.backward_layer * (layer - wide),
            flight.backward_layer * wide,
            flight.backward_elements * room,
        )
        return self._moment(by.scores * kept.scores_bytes + by.layer * layer, 0.0, in_flight)

    def _in_flight(self, own: float, wide: float, most_elements: float) -> float:
        """Bytes of arrays in the model's own type and in float32, as far as a batch holds them."""
        own, wide = self._operations_share * own, self._operations_share * wide
        elements = own / self.shapes.element_bytes + wide / _FLOAT32_BYTES
        return (own + wide) * min(1.0, most_elements / elements) if elements else 0.0

    def _moment(self, activations: float, logits: float, in_flight: float) -> Moment:
        """A moment that adds this to what is kept for the backward pass."""
        margin = _MARGIN_OF_MOMENT * (activations + logits + in_flight)
        return Moment(
            activations_bytes=self.kept_bytes + activations,
            logits_bytes=logits,
            gradients_bytes=self._gradients_bytes,
            in_flight_bytes=in_flight,
            margin_bytes=margin + _MARGIN_OF_KEPT * self.kept_bytes,
        )

    @property
    def _coefficients(self) -> Coefficients:
        return ON_CUDA if self.backend == "cuda" else ON_THE_CPU

    @cached_property
    def _batches(self) -> Batches | None:
        if self.backend == "cpu":
            return None
        if self.backend == "metal":
            is_large = any(name in self.device for name in LARGE_METAL_NAMES)
            return LARGE_METAL if is_large else METAL
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
    def _logits_bytes(self) -> int:
        return self._kept.vector_bytes(self.shapes.vocab_size)

    @property
    def _adapted_outputs_bytes(self) -> int:
        if self.config.fine_tune_type is FineTuneType.FULL:
            return 0
        outputs = sum(linear.outputs for linear in self.adapted)
        return _FLOAT32_BYTES * self._kept.tokens * outputs

    @cached_property
    def ahead_bytes(self) -> float:
        """What it takes beyond its highest moment where no limit makes MLX wait."""
        if self.backend != "metal":
            return self._free.backward_bytes
        room = self._room(*self.quantization)
        free, is_checkpointed = self._free, self.config.grad_checkpoint
        at_the_loss = free.checkpointed_loss_bytes if is_checkpointed else free.loss_bytes
        loss = self._at_the_loss(room).sum_bytes + at_the_loss
        in_flight = free.backward_bytes + free.largest_bytes
        backward = self._in_the_backward_pass(room).sum_bytes + in_flight
        return max(0.0, max(loss, backward) - self.highest_moment.sum_bytes)

    @property
    def ahead_margin_bytes(self) -> float:
        """How far that may be above this."""
        return self._free.margin_bytes

    @cached_property
    def _free(self) -> FreePeak:
        return FreePeak(self._layer_work, self.trained.layers, self._batches)

    @property
    def _layer_work(self) -> LayerWork:
        kept, shapes = self._kept, self.shapes
        is_full = self.config.fine_tune_type is FineTuneType.FULL
        adapted = () if is_full else self.adapted
        parameters = sum(linear.inputs * linear.outputs for linear in shapes.linears)
        outputs = sum(linear.outputs for linear in shapes.linears)
        trained = self.trained.parameters / self.trained.layers
        return LayerWork(
            vectors=kept.tokens * (shapes.hidden_size + outputs),
            scores=kept.scores_bytes / shapes.element_bytes,
            is_fused=not kept.kept_scores_bytes,
            adapted_outputs=self._adapted_outputs_bytes / _FLOAT32_BYTES,
            adapted_inputs=kept.wide_bytes / _FLOAT32_BYTES,
            adapter_parameters=0 if is_full else trained,
            weight_gradients=trained if is_full else 0,
            adapters=len(adapted),
            inner_product=0 if is_full else kept.tokens * self.config.rank,
            multiplications=kept.tokens * parameters,
            kept_bytes=kept.layer_bytes,
            element_bytes=shapes.element_bytes,
        )
