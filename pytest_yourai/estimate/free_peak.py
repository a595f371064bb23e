"""Memory that a step takes beyond its minimum where no limit makes MLX wait. Bytes.

MLX's evaluator runs ahead of the device: it goes on until eleven tasks are in flight. A task of a
GPU is a batch of work, and no array that a batch reads is freed before the batch has ended. So what
is in flight is what the operations of eleven batches make, of so many layers as these hold: a batch
ends with a number of operations, or of elements that they read (`coefficients.Batches`); large
operations fill a batch alone. On the CPU a task is ten dispatches.

What a layer makes in its backward pass was fitted on one H200 to llama-like models, which also gave
the operations of a layer. On Metal a batch counts what its operations write, too; nothing was
fitted there but the share of the forward pass: its reports judge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_yourai.estimate.coefficients import HOPPER, Batches

_TASKS = 11
"""MLX waits beyond ten (mlx/transforms.cpp, MAX_ACTIVE_TASKS)."""

_VECTORS = 5.0
"""Arrays that a layer makes, for each of its vectors: its hidden size and what its linears give."""

_SCORES = 2.0
"""The same of its attention scores, for each pass in which attention is not fused."""

_JOINED_MADE, _JOINED_READ = 7.0, 14.0
"""Arrays of scores that the backward pass of fused attention with sinks makes, and reads.

Counted in MLX's fallback (mlx/fast.cpp), where a product copies a slice that is no matrix in memory
(mlx/backend/cuda/matmul.cpp), and what another operation may still read is not taken over.
"""

_ADAPTED_OUTPUTS, _ADAPTED_INPUTS = 2.0, 1.5
"""Float32 arrays for each vector that adapted layers give, and read."""

_ADAPTERS = 6.7
"""Float32 arrays of an adapter's own size."""

_READ = 2.83
"""Elements that operations read for each that they make."""

_OPERATIONS, _OPERATIONS_OF_AN_ADAPTER = 61, 13
"""Operations of a layer in its backward pass, without adapters, and of each of these."""

_FEWEST_ADAPTERS = 4
"""Fewer were not measured: a layer that has none is taken for one that has so many."""

_OPERATIONS_OF_A_CPU_TASK = 4
"""Of ten dispatches (mlx/backend/cpu/encoder.h), as `tiny` was measured on Linux."""

_LEAST_AHEAD = 0.45

_MULTIPLICATIONS = 5.1e10
"""In a layer, with so many a Hopper GPU is busy for longer than its work takes to submit."""

_UNHINDERED, _HINDERED = 130e3, 390e3
"""Elements of an adapter's inner product. Beyond the first MLX runs less and less ahead on Hopper,
beyond the second hardly: steps take up to twice as long then. Probably for larger ones cuBLAS takes
kernels for which MLX builds each CUDA graph anew (`is_graph_updatable_`)."""

_LEAST_HINDERED = 0.08

_FORWARD_SHARE = 0.5
"""Of what is in flight in the backward pass, what also is at the loss, and is not kept anyway."""

_FORWARD_PARTS = 3
"""A forward pass has about this part of a layer's operations."""

_MARGIN = 0.3

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One trained layer in a step: elements of arrays, and counts, for the whole batch.

    `vectors` are of the hidden size and of what linear layers give, in the model's own type, as
    `scores`, one array of all heads' where attention makes any, and `largest_scores`, the largest
    of unlike layers; `is_fused` is true where it makes none in the forward pass. `adapted_outputs`
    and `adapted_inputs` are what adapted layers give and read; `weight_gradients` those of the
    base, where it is trained. `kept_bytes` stay for the backward pass where there is no
    checkpointing. `more_operations` are those of its backward pass beyond a llama's;
    `joined_scores` stand for `scores` where these are joined with sinks.
    """

    vectors: float
    scores: float
    largest_scores: float
    is_fused: bool
    adapted_outputs: float
    adapted_inputs: float
    adapter_parameters: float
    weight_gradients: float
    adapters: float
    inner_product: float
    multiplications: float
    kept_bytes: float
    element_bytes: int
    more_operations: float = 0.0
    joined_scores: float = 0.0

    @property
    def operations(self) -> float:
        """Operations of its backward pass."""
        adapters = max(self.adapters, _FEWEST_ADAPTERS)
        own = _OPERATIONS + self.more_operations
        return own + adapters * _OPERATIONS_OF_AN_ADAPTER

    @property
    def own(self) -> float:
        """Elements that its backward pass makes in the model's own type."""
        passes = 1 if self.is_fused else 2
        computed = _VECTORS * self.vectors + passes * _SCORES * self.scores
        return computed + _JOINED_MADE * self.joined_scores + self.weight_gradients

    @property
    def wide(self) -> float:
        """Elements that it makes in float32."""
        outputs = _ADAPTED_OUTPUTS * self.adapted_outputs
        return outputs + _ADAPTED_INPUTS * self.adapted_inputs + _ADAPTERS * self.adapter_parameters

    @property
    def made_bytes(self) -> float:
        """All that its backward pass makes."""
        return self.own * self.element_bytes + self.wide * _FLOAT32_BYTES


@dataclass(frozen=True)
class FreePeak:
    """What is in flight without a limit, in steps with `layers` trained layers that work alike."""

    work: LayerWork
    layers: int
    batches: Batches | None
    """The device's; None for the CPU."""

    @property
    def backward_bytes(self) -> float:
        """In flight in the backward pass."""
        return self._unhindered_bytes * self._unhindered_share

    @property
    def loss_bytes(self) -> float:
        """In flight at the loss, beyond what is kept for the backward pass."""
        return _FORWARD_SHARE * self.backward_bytes

    @property
    def checkpointed_loss_bytes(self) -> float:
        """The same with checkpointing, which keeps nothing of what the forward pass made."""
        kept = max(self.work.kept_bytes / self.work.element_bytes, 1.0)
        layers = self._tasks_elements(kept * _FORWARD_PARTS / self.work.operations) / kept
        return min(layers, self.layers) * self.work.kept_bytes

    @property
    def largest_bytes(self) -> float:
        """Scores that fill a batch of Metal's alone: one more is in flight."""
        batches, scores = self.batches, self.work.largest_scores
        is_alone = batches and batches.counts_outputs and scores > batches.elements
        return scores * self.work.element_bytes if is_alone else 0.0

    @property
    def margin_bytes(self) -> float:
        """How far it may be above this; one that was hindered may not be the next time."""
        return (1 + _MARGIN) * self._unhindered_bytes - self.backward_bytes

    @cached_property
    def _unhindered_bytes(self) -> float:
        return self._layers_in_flight * self.work.made_bytes

    @property
    def _layers_in_flight(self) -> float:
        made = self.work.own + self.work.wide
        if self.batches is None:
            return _TASKS * _OPERATIONS_OF_A_CPU_TASK / self.work.operations
        joined = self.work.joined_scores
        counted = (_READ + self.batches.counts_outputs) * (made - _JOINED_MADE * joined)
        counted += _JOINED_READ * joined
        by_elements = self._tasks_elements(counted / self.work.operations) / counted
        operations = _TASKS * self.batches.operations * self._busy_share
        return min(operations / self.work.operations, by_elements, self.layers + 1)

    def _tasks_elements(self, of_an_operation: float) -> float:
        """Elements that the tasks count; the last operation of each is beyond its limit.

        On Hopper what was fitted has it in it.
        """
        if self.batches is None:
            return 0.0
        beyond = 0.0 if self.batches == HOPPER else of_an_operation
        return _TASKS * (self.batches.elements + beyond)

    @property
    def _busy_share(self) -> float:
        """Share of the tasks that are in flight where a fast GPU ends work sooner than it comes."""
        if self.batches != HOPPER:
            return 1.0
        busy = min(1.0, self.work.multiplications / _MULTIPLICATIONS)
        return _LEAST_AHEAD + (1 - _LEAST_AHEAD) * busy

    @property
    def _unhindered_share(self) -> float:
        if self.batches != HOPPER:
            return 1.0
        beyond = (self.work.inner_product - _UNHINDERED) / (_HINDERED - _UNHINDERED)
        return max(_LEAST_HINDERED, 1 - (1 - _LEAST_HINDERED) * max(0.0, beyond))
