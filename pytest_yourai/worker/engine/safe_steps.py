"""Clipped gradients, and batches that are skipped: both within the step that mlx-lm compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer, clip_grad_norm
from mlx.utils import tree_map
from mlx_lm.tuner.trainer import default_loss

from pytest_yourai.worker.engine import distributed


class SafeSteps:
    """A loss and an optimizer for mlx-lm's `train`, in which invalid batches change nothing.

    A batch whose loss is not finite adds no gradient, and the mean of an update is that over the
    other batches of its `accumulation` steps. Without any, weights and optimizer stay as they are.
    With `max_grad_norm` the mean is clipped to that global norm, once per update.

    A batch that is invalid on one rank is so on all, which then change their weights alike.

    It knows of the loss within the graph alone: reading it would make each step wait.
    """

    def __init__(
        self, optimizer: Optimizer, accumulation: int, max_grad_norm: float | None
    ) -> None:
        self._optimizer = optimizer
        self._accumulation = accumulation
        self._max_grad_norm = max_grad_norm
        self._valid = {"batches": mx.array(0)}
        """Batches since the last update whose loss was finite."""

    def loss(self, model: nn.Module, batch: mx.array, lengths: mx.array) -> tuple[mx.array, ...]:
        """mlx-lm's loss and its number of tokens; its gradients are zero if it is not finite."""
        valid: list[mx.array] = []
        weights = model.trainable_parameters()
        model.update(tree_map(_gate(valid), weights))
        loss, tokens = default_loss(model, batch, lengths)
        model.update(weights)
        valid.append(distributed.is_on_all(mx.isfinite(mx.stop_gradient(loss))))
        self._valid["batches"] += valid[0]
        return loss, tokens

    @property
    def state(self) -> list[Any]:
        """The arrays that a step changes, in the objects that hold them."""
        return [self._optimizer.state, self._valid]

    @property
    def learning_rate(self) -> Any:
        return self._optimizer.learning_rate

    def update(self, model: nn.Module, gradients: Any) -> None:
        """Update the model's weights, as the optimizer's own `update`."""
        valid = self._valid["batches"]
        if self._accumulation > 1:
            # mlx-lm has divided the sum by all of them; where all are valid this is exactly 1.
            share = self._accumulation / mx.maximum(valid, 1)
            gradients = tree_map(lambda each: (each * share).astype(each.dtype), gradients)
        if self._max_grad_norm is not None:
            gradients, _ = clip_grad_norm(gradients, self._max_grad_norm)

        def chosen(new: mx.array, old: mx.array) -> mx.array:
            return mx.where(valid > 0, new, old)

        # What the first update would do; afterwards it changes nothing.
        self._optimizer.init(gradients)
        before = tree_map(lambda each: each, self._optimizer.state)
        weights = self._optimizer.apply_gradients(gradients, model)
        model.update(tree_map(chosen, weights, model))
        # In place: mlx-lm's compiled step holds this very mapping.
        self._optimizer.state.update(tree_map(chosen, self._optimizer.state, before))
        self._valid["batches"] = mx.array(0)


def _gate(valid: list[mx.array]) -> Callable[[mx.array], object]:
    """The identity, with a gradient of zero if `valid` has a false by the time it is computed."""

    def passed(weight: mx.array) -> mx.array:
        return weight

    gate = mx.custom_function(passed)

    @gate.vjp
    def gated(_: mx.array, gradient: mx.array, __: mx.array) -> mx.array:
        return mx.where(valid[0], gradient, mx.zeros_like(gradient))

    return gate
