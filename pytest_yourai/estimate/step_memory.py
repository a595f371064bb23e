"""Memory of one training step beyond weights, trained arrays and optimizer state. Bytes.

What layers keep for the backward pass is in `kept_arrays`; checkpointing keeps one residual input
instead, and computes the rest again.

The highest moment can be the loss, with several arrays of the logits' size, the start of the
backward pass, the end of that of a loop over positions, with checkpointing the forward pass, and,
where a batch has few tokens for what is trained, the optimizer's turn, by when all that was kept is
gone. On top of what lives then comes what is in flight, in `batches_of_work`. The numbers are in
`coefficients`.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.batches_of_work import BatchesOfWork, batches_of
from pytest_yourai.estimate.coefficients import (
    BY_BACKEND,
    HOPPER_FLIGHT,
    ON_THE_CPU,
    OPTIMIZER_FLIGHTS,
    Coefficients,
)
from pytest_yourai.estimate.free_peak import FreePeak
from pytest_yourai.estimate.kept_arrays import KeptArrays
from pytest_yourai.estimate.layer_work import mean_work
from pytest_yourai.estimate.moment import Moment
from pytest_yourai.estimate.trained_arrays import TrainedArrays, largest_matrix_bytes
from pytest_yourai.models.architecture import Architecture
from pytest_yourai.models.layer_shapes import LayerShapes

_MARGIN_OF_MOMENT = 0.9

_MARGIN_OF_KEPT = 0.02
"""Margins as shares: no measured minimum was more than half of the moment above the estimate."""

_SCORES_ALIVE = 3
"""Scores in the gradient of softmax: it, the gradient of its output, their product."""

_SCORES_READ = 4
"""How often the operations up to that product read scores: mask, softmax, and two factors."""

_LOGITS_READ = 3
"""How often the loss, its gradient and that of the head read an array of the logits' size."""


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
    def kept_bytes(self) -> float:
        """Bytes kept from all trained layers until the backward pass, while the loss runs."""
        return self._kept_until(len(self._layers) - 1)

    def _kept_until(self, index: int) -> float:
        """Bytes kept from the trained layers up to that one."""
        first = self._layers[0]
        if self.config.grad_checkpoint:
            return (1 + index) * first.vector_bytes(self.shapes.hidden_size)
        return first.first_layer_bytes + self._others_bytes[index]

    @cached_property
    def _others_bytes(self) -> tuple[int, ...]:
        """Bytes kept from the trained layers after the first one, up to each."""
        others = (each.layer_bytes for each in self._layers[1:])
        return tuple(itertools.accumulate(others, initial=0))

    @property
    def highest_moment(self) -> Moment:
        """The one of these moments that holds most.

        Its margin also covers that of the others: one of them may be the highest in truth.
        """
        # In the backward pass the last layer of each kind may need most.
        last = {id(each): index for index, each in enumerate(self._layers)}.values()
        moments = [*map(self._in_the_backward_pass, last)]
        loops = (
            index
            for index in last
            if self._layers[index].sliced_bytes and (index or self._layers[0].reaches_its_loop)
        )
        moments += [*map(self._after_the_loop, loops), self._at_the_loss(), self._at_the_update()]
        if self.backend == "cuda" and self.config.grad_checkpoint:
            moments.append(self._in_the_forward_pass())
        highest = max(moments, key=operator.attrgetter("sum_bytes"))
        most = max(moment.sum_bytes + moment.margin_bytes for moment in moments)
        return dataclasses.replace(highest, margin_bytes=most - highest.sum_bytes)

    def _at_the_update(self) -> Moment:
        """The optimizer's turn, when all that was kept is gone."""
        flight = OPTIMIZER_FLIGHTS[self.config.optimizer]
        largest = largest_matrix_bytes(self.trained, [each.layer for each in self._layers])
        in_flight = flight.alive(self.trained.matrices) * largest
        margin = _MARGIN_OF_MOMENT * in_flight
        return Moment(0.0, 0.0, self._accumulated_bytes, in_flight, margin)

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
            alive = BY_BACKEND[self.backend].gradients * trained.parameters
        return alive + self._accumulated_bytes

    def _in_the_forward_pass(self) -> Moment:
        """With checkpointing, which keeps little: as many layers as a batch of operations holds."""
        last = self._layers[-1]
        in_flight = self._work.made_bytes(last.forward_bytes, last.forward_operations)
        most = len(self._layers) * float(last.forward_bytes)
        return self._moment(last, self.kept_bytes, 0.0, 0.0, min(in_flight, most))

    def _at_the_loss(self) -> Moment:
        flight, last = HOPPER_FLIGHT, self._layers[-1]
        vectors = last.vector_bytes(self.shapes.hidden_size + last.layer.inner)
        if self._work.are_filled_by(self._logits_bytes):
            # Nothing waits for the end of their batch but what the head reads, and its gradient.
            in_flight = 2.0 * last.vector_bytes(self.shapes.hidden_size)
        else:
            in_flight = self._work.in_flight_bytes(
                flight.loss_logits * self._logits_bytes + flight.loss_vectors * vectors,
                flight.loss_adapted * last.outputs_bytes,
                flight.loss_elements * self._room,
            )
        capped = self.shapes.family.capped_logits if self.shapes.family else 0
        logits = (BY_BACKEND[self.backend].logits + capped) * self._logits_bytes
        return self._moment(last, self.kept_bytes, self._computed_again, logits, in_flight)

    @property
    def _computed_again(self) -> float:
        """With checkpointing the last layer is made anew before its gradient is there.

        The followed step of Qwen3-8B has its scores at the loss. Elsewhere coefficients have them.
        """
        is_known = self.backend == "metal" and self.config.grad_checkpoint
        return self._layers[-1].kept_scores_bytes if is_known else 0.0

    def _in_the_backward_pass(self, index: int, usual: Coefficients | None = None) -> Moment:
        """The backward pass of the layer of that index, by coefficients other than the device's."""
        by, flight = usual or BY_BACKEND[self.backend], HOPPER_FLIGHT
        own, kept = self._layers[index], self._kept_until(index)
        above = self._ended_in_its_batch(index)
        if not self.config.grad_checkpoint and self._splits_its_batch(own):
            return self._between_scores(own, kept)
        layer = own.layer_bytes - own.kept_scores_bytes - own.weights_bytes
        # What is left of the loss is gone by the time of earlier layers.
        left = self._logits_bytes if above or index == len(self._layers) - 1 else 0
        logits = flight.backward_logits * left
        if self.config.grad_checkpoint:
            again = own.layer_bytes + by.checkpointed_layer * layer
            again += by.checkpointed_scores * own.scores_bytes + own.joined_scores_bytes
            in_flight = self._work.in_flight_bytes(
                logits, 0.0, flight.checkpointed_elements * self._room
            )
            return self._moment(own, kept, again, by.checkpointed_logits * left, in_flight)
        wide = own.wide_bytes
        if above:
            kept, layer = self.kept_bytes, layer + above.layer_bytes
        in_flight = self._work.in_flight_bytes(
            logits + flight.backward_layer * (layer - wide),
            flight.backward_layer * wide,
            flight.backward_elements * self._room,
        )
        scores = by.scores * own.scores_bytes + own.joined_scores_bytes
        return self._moment(own, kept, scores + by.layer * layer, 0.0, in_flight)

    def _ended_in_its_batch(self, index: int) -> KeptArrays | None:
        """The last layer, where its backward pass is short, and shares a batch with that layer's.

        Without adapters and attention it has few operations; what they and the loss read must
        leave room for the scores of the layer below.
        """
        last = self._layers[-1]
        is_short = not (last.adapted or last.layer.attention or self.config.grad_checkpoint)
        if self.backend != "cuda" or index != len(self._layers) - 2 or not is_short:
            return None
        read = _LOGITS_READ * self._logits_bytes
        read += _SCORES_READ * self._layers[index].scores_bytes
        return None if self._work.are_filled_by(read) else last

    def _between_scores(self, own: KeptArrays, kept: float) -> Moment:
        """In attention's backward pass, where its scores end the batch: the MLP's share is gone."""
        flight = HOPPER_FLIGHT.backward_layer * own.before_attention_bytes
        scores = _SCORES_ALIVE * own.scores_bytes
        left = max(0.0, kept - own.after_attention_bytes)
        return self._moment(own, left, scores, 0.0, flight)

    def _after_the_loop(self, index: int) -> Moment:
        """At the end of the backward pass of a loop over positions."""
        own, kept = self._layers[index], self._kept_until(index)
        again = own.layer_bytes if self.config.grad_checkpoint else 0.0
        return self._moment(own, kept + again - own.states_bytes, own.sliced_bytes, 0.0, 0.0)

    def _splits_its_batch(self, layer: KeptArrays) -> bool:
        """True if operations on its attention scores are more than a batch, as CUDA counts it.

        With sinks other arrays are alive, and their number was measured.
        """
        is_known = self.backend == "cuda" and not layer.joined_scores_bytes
        return is_known and self._work.are_filled_by(_SCORES_READ * layer.scores_bytes)

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

    @cached_property
    def _work(self) -> BatchesOfWork:
        return BatchesOfWork(batches_of(self.backend, self.device), self.shapes.element_bytes)

    @cached_property
    def _room(self) -> float:
        """Share of a Hopper's full batch that the head leaves for other arrays."""
        head = float(self.shapes.vocab_size * self.shapes.hidden_size)
        return self._work.room(head, self.quantization)

    @property
    def _logits_bytes(self) -> int:
        return self._layers[-1].vector_bytes(self.shapes.vocab_size)

    @cached_property
    def ahead_bytes(self) -> float:
        """What it takes beyond its highest moment where no limit makes MLX wait."""
        if self.backend != "metal":
            return self._free.backward_bytes
        free, is_checkpointed = self._free, self.config.grad_checkpoint
        at_the_loss = free.checkpointed_loss_bytes if is_checkpointed else free.loss_bytes
        loss = self._at_the_loss().sum_bytes + at_the_loss
        last = self._in_the_backward_pass(len(self._layers) - 1, ON_THE_CPU)
        most = max(loss, last.sum_bytes + free.backward_bytes + free.largest_bytes)
        return max(0.0, most - self.highest_moment.sum_bytes)

    @property
    def ahead_margin_bytes(self) -> float:
        """How far that may be above this."""
        return self._free.margin_bytes

    @cached_property
    def _free(self) -> FreePeak:
        work = mean_work(self._layers, self.trained, self.shapes.hidden_size)
        return FreePeak(work, self.trained.layers, self._work.batches)
