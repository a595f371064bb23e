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

import collections
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
from pytest_yourai.estimate.free_peak import FreePeak
from pytest_yourai.estimate.kept_arrays import KeptArrays
from pytest_yourai.estimate.layer_work import layer_work, mean_work
from pytest_yourai.estimate.trained_arrays import TrainedArrays
from pytest_yourai.models.architecture import Architecture
from pytest_yourai.models.layer_shapes import LayerShapes

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

    The linear layers whose paths are `keys` have adapters; `quantization` is the bits of the base
    model, None for full precision, and the group size.
    """

    shapes: Architecture
    keys: frozenset[str]
    trained: TrainedArrays
    config: LoraConfig
    has_first_moment: bool
    quantization: tuple[int | None, int]
    backend: Backend
    device: str

    @cached_property
    def _layers(self) -> tuple[KeptArrays, ...]:
        """The trained layers, from the first one with adapters; equal ones are one object."""
        trained = self.shapes.layers[-self.trained.layers :]
        kinds = {
            kind: KeptArrays(
                kind,
                self.keys,
                self.config,
                self.shapes.element_bytes,
                self.quantization[0] is not None,
                self.backend,
            )
            for kind in dict.fromkeys(trained)
        }
        layers = tuple(kinds[kind] for kind in trained)
        if self.config.fine_tune_type is FineTuneType.FULL:
            return layers
        first = next((index for index, each in enumerate(layers) if each.adapted), 0)
        return layers[first:]

    @cached_property
    def _last(self) -> KeptArrays:
        return self._layers[-1]

    @cached_property
    def kept_bytes(self) -> float:
        """Bytes kept from all trained layers until the backward pass, while the loss runs."""
        return self._kept_until(len(self._layers) - 1)

    def _kept_until(self, index: int) -> float:
        """Bytes kept from the trained layers up to that one."""
        first, *others = self._layers[: index + 1]
        if self.config.grad_checkpoint:
            return (1 + len(others)) * first.vector_bytes(self.shapes.hidden_size)
        return first.first_layer_bytes + sum(each.layer_bytes for each in others)

    @property
    def highest_moment(self) -> Moment:
        """The loss, the start of the backward pass or the optimizer's turn: what holds most.

        Its margin also covers that of the others: one of them may be the highest in truth.
        """
        room = self._room(*self.quantization)
        # In the backward pass the last layer of each kind may need most.
        last = {id(each): index for index, each in enumerate(self._layers)}
        moments = [self._in_the_backward_pass(room, index) for index in last.values()]
        moments += [self._at_the_loss(room), self._at_the_update()]
        highest = max(moments, key=lambda moment: moment.sum_bytes)
        most = max(moment.sum_bytes + moment.margin_bytes for moment in moments)
        return dataclasses.replace(highest, margin_bytes=most - highest.sum_bytes)

    def _at_the_update(self) -> Moment:
        """The optimizer's turn, when all that was kept is gone."""
        trained, flight = self.trained, OPTIMIZER_FLIGHTS[self.config.optimizer]
        alive = flight.matrices + flight.wait * trained.matrices
        matrices = min(alive, flight.most * trained.matrices)
        in_flight = matrices * self._largest_matrix_bytes
        margin = _MARGIN_OF_MOMENT * in_flight
        return Moment(0.0, 0.0, self._accumulated_bytes, in_flight, margin)

    @cached_property
    def _largest_matrix_bytes(self) -> float:
        """Of a trained matrix, in the layer where they are largest on average."""
        trained = self.trained
        mean = trained.held_bytes / max(trained.matrices, 1)
        if self.config.fine_tune_type is not FineTuneType.FULL:
            return mean
        sizes = [(each.layer.parameters, len(each.layer.linears)) for each in self._layers]
        means = [parameters / max(count, 1) for parameters, count in sizes]
        parameters, count = map(sum, zip(*sizes, strict=True))
        return mean * max(means) * max(count, 1) / parameters

    @property
    def _accumulated_bytes(self) -> int:
        """The sum of earlier steps' gradients, which the largest step of a cycle holds."""
        return self.trained.held_bytes if self.config.grad_accumulation_steps > 1 else 0

    def _gradients_bytes(self, layer: LayerShapes) -> float:
        """Gradients alive in a layer's backward pass: its own of the base, of adapters a share."""
        trained = self.trained
        if self.config.fine_tune_type is FineTuneType.FULL:
            all_parameters = sum(each.layer.parameters for each in self._layers)
            alive = trained.held_bytes * layer.parameters / all_parameters
        else:
            alive = self._coefficients.gradients * trained.parameters
        return alive + self._accumulated_bytes

    def _at_the_loss(self, room: float) -> Moment:
        flight, last = HOPPER_FLIGHT, self._last
        vectors = last.vector_bytes(self.shapes.hidden_size + last.layer.inner)
        in_flight = self._in_flight(
            flight.loss_logits * self._logits_bytes + flight.loss_vectors * vectors,
            flight.loss_adapted * last.outputs_bytes,
            flight.loss_elements * room,
        )
        capped = self.shapes.family.capped_logits if self.shapes.family else 0
        logits = (self._coefficients.logits + capped) * self._logits_bytes
        return self._moment(last, self.kept_bytes, 0.0, logits, in_flight)

    def _in_the_backward_pass(self, room: float, index: int) -> Moment:
        """The backward pass of the layer of that index."""
        by, flight = self._coefficients, HOPPER_FLIGHT
        own, kept = self._layers[index], self._kept_until(index)
        layer = own.layer_bytes - own.kept_scores_bytes - own.weights_bytes
        # What is left of the loss is gone by the time of earlier layers.
        left = self._logits_bytes if index == len(self._layers) - 1 else 0
        logits = flight.backward_logits * left
        if self.config.grad_checkpoint:
            again = own.layer_bytes + by.checkpointed_layer * layer
            again += by.checkpointed_scores * own.scores_bytes + own.joined_scores_bytes
            in_flight = self._in_flight(logits, 0.0, flight.checkpointed_elements * room)
            return self._moment(own, kept, again, by.checkpointed_logits * left, in_flight)
        wide = own.wide_bytes
        in_flight = self._in_flight(
            logits + flight.backward_layer * (layer - wide),
            flight.backward_layer * wide,
            flight.backward_elements * room,
        )
        scores = by.scores * own.scores_bytes + own.joined_scores_bytes
        return self._moment(own, kept, scores + by.layer * layer, 0.0, in_flight)

    def _in_flight(self, own: float, wide: float, most_elements: float) -> float:
        """Bytes of arrays in the model's own type and in float32, as far as a batch holds them."""
        own, wide = self._operations_share * own, self._operations_share * wide
        elements = own / self.shapes.element_bytes + wide / _FLOAT32_BYTES
        return (own + wide) * min(1.0, most_elements / elements) if elements else 0.0

    def _moment(
        self,
        at: KeptArrays,
        kept: float,
        activations: float,
        logits: float,
        in_flight: float,
    ) -> Moment:
        """A moment at a layer, which adds this to what is `kept` for the backward pass."""
        margin = _MARGIN_OF_MOMENT * (activations + logits + in_flight)
        return Moment(
            activations_bytes=kept + activations,
            logits_bytes=logits,
            gradients_bytes=self._gradients_bytes(at.layer),
            in_flight_bytes=in_flight,
            margin_bytes=margin + _MARGIN_OF_KEPT * kept,
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
        return self._last.vector_bytes(self.shapes.vocab_size)

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
        backward = self._in_the_backward_pass(room, len(self._layers) - 1).sum_bytes + in_flight
        return max(0.0, max(loss, backward) - self.highest_moment.sum_bytes)

    @property
    def ahead_margin_bytes(self) -> float:
        """How far that may be above this."""
        return self._free.margin_bytes

    @cached_property
    def _free(self) -> FreePeak:
        counts = collections.Counter(map(id, self._layers))
        kinds = {id(each): each for each in self._layers}
        works = [
            (layer_work(kept, self.trained, self.shapes.hidden_size), counts[kind])
            for kind, kept in kinds.items()
        ]
        return FreePeak(mean_work(works), self.trained.layers, self._batches)
