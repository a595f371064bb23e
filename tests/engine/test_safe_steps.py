"""Batches that are skipped, and gradients that are clipped, in mlx-lm's own loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn, optimizers
from mlx.utils import tree_flatten
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import default_loss

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop
from pytest_yourai.worker.engine.safe_steps import SafeSteps

POISON = 19

Batch = tuple[mx.array, mx.array]


class Small(nn.Module):  # type: ignore[misc]  # mlx is untyped there
    """A language model whose loss is not a number for rows with POISON."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20)

    def __call__(self, rows: mx.array) -> Any:
        factor = mx.where((rows == POISON).any(), float("nan"), 1.0)
        return self.out(self.embedding(rows)) * factor


class Until(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self, steps: int) -> None:
        self.losses: list[float] = []
        self._steps = steps

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.losses.append(train_info["train_loss"])
        if len(self.losses) == self._steps:
            raise EndOfLoop


def batch(seed: int) -> Batch:
    rows = mx.random.randint(0, POISON, (2, 7), key=mx.random.key(seed))
    return rows, mx.array([[0, 7], [0, 7]])


GOOD = [batch(seed) for seed in range(8)]
BAD: Batch = (mx.full((2, 7), POISON), GOOD[0][1])


def trained(
    batches: list[Batch],
    optimizer: optimizers.Optimizer,
    *,
    accumulation: int = 1,
    safe: bool = True,
    max_grad_norm: float | None = None,
) -> tuple[list[float], dict[str, mx.array]]:
    """Losses, and all weights and optimizer state after these batches.

    Each step that compiles must be announced, and no other.
    """

    def iterate(**_: Any) -> Iterator[Batch]:
        yield from batches

    mx.random.seed(1)
    model = Small()
    until = Until(len(batches))
    announced: list[int] = []
    traced: list[int] = []
    steps = SafeSteps(optimizer, accumulation, max_grad_norm)

    def loss(*arguments: Any) -> Any:
        traced.append(len(until.losses))
        return (steps.loss if safe else default_loss)(*arguments)

    run_loop(
        model,
        steps if safe else optimizer,
        [],
        LoraConfig(2, 4, 1, 7, grad_accumulation_steps=accumulation),
        Recipe(),
        len(batches),
        iterate,
        until,
        lambda: announced.append(len(until.losses)),
        loss=loss,
    )
    assert announced == traced
    state = tree_flatten([model.trainable_parameters(), optimizer.state])
    return until.losses, dict(state)


def differences(one: dict[str, mx.array], other: dict[str, mx.array]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not mx.array_equal(one[name], other[name])]


def scheduled() -> optimizers.Optimizer:
    return optimizers.AdamW(learning_rate=optimizers.cosine_decay(1e-2, 20))


@pytest.mark.parametrize("accumulation", [1, 4])
def test_valid_batches_train_to_the_bit_as_without_it(accumulation: int) -> None:
    losses, state = trained(GOOD, scheduled(), accumulation=accumulation, safe=False)
    ours, own_state = trained(GOOD, scheduled(), accumulation=accumulation)
    assert ours == losses
    assert not differences(own_state, state)


@pytest.mark.parametrize("place", [0, 3, 8])
def test_an_invalid_batch_changes_no_weight_no_optimizer_and_no_later_loss(place: int) -> None:
    losses, state = trained(GOOD, scheduled(), safe=False)
    with_it, own_state = trained([*GOOD[:place], BAD, *GOOD[place:]], scheduled())
    assert str(with_it.pop(place)) == "nan"
    assert with_it == losses
    assert not differences(own_state, state)


def test_an_update_has_the_mean_of_its_valid_batches() -> None:
    losses, state = trained(GOOD[:6], optimizers.SGD(0.1), accumulation=3, safe=False)
    batches = [*GOOD[:3], BAD, BAD, *GOOD[3:6]]
    with_them, own_state = trained(batches, optimizers.SGD(0.1), accumulation=4)
    assert [each for each in with_them if math.isfinite(each)] == pytest.approx(losses)
    for name, array in state.items():
        assert mx.allclose(own_state[name], array, rtol=1e-5, atol=1e-7), name


def test_a_cycle_of_invalid_batches_updates_nothing() -> None:
    _, state = trained(GOOD[:2], scheduled(), accumulation=2, safe=False)
    _, own_state = trained([BAD, BAD, *GOOD[:2], BAD, BAD], scheduled(), accumulation=2)
    assert not differences(own_state, state)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_mean_of_an_update_is_clipped_once(accumulation: int) -> None:
    """SGD with a rate of 1 moves the weights by the clipped gradient."""
    mx.random.seed(1)
    before = dict(tree_flatten(Small().trainable_parameters()))
    largest = 0.01
    for max_norm in (None, largest):
        _, state = trained(
            GOOD[:accumulation],
            optimizers.SGD(1.0),
            accumulation=accumulation,
            max_grad_norm=max_norm,
        )
        moved = sum(
            ((array - before[name.removeprefix("0.")]) ** 2).sum().item()
            for name, array in state.items()
            if name.startswith("0.")
        )
        if max_norm is None:
            assert moved**0.5 > 2 * largest
    assert moved**0.5 == pytest.approx(largest, rel=1e-3)
