"""mlx-lm's training loop, ended by its callback before it writes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, default_loss, train

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import YouraiError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.worker.engine import device
from pytest_yourai.worker.engine.training_rows import Batch

_NEVER = 1 << 62


class EndOfLoop(YouraiError):  # noqa: N818 - it ends mlx-lm's loop, nothing failed
    """Raised by a callback to end training before mlx-lm writes adapters, or an evaluation."""


def run_loop(
    model: nn.Module,
    optimizer: Any,
    rows: Any,
    config: LoraConfig,
    recipe: Recipe,
    most_steps: int,
    iterate_batches: Callable[..., Iterator[Batch]],
    callback: TrainingCallback,
    announce: Callable[[], None],
    *,
    loss: Callable[..., Any] = default_loss,
) -> None:
    """Train until `callback` raises EndOfLoop, which it must do within `most_steps`.

    `optimizer` is one of `mlx.optimizers`, or has what mlx-lm uses of it. `announce` is called
    before each step that compiles. `rows` is a data set as `iterate_batches` takes it. Raises
    whatever MLX and the callback raise.
    """
    try:
        train(
            model=model,
            optimizer=optimizer,
            train_dataset=rows,
            args=_arguments(config, recipe, most_steps),
            loss=loss,
            iterate_batches=announcing(iterate_batches, announce, config.grad_accumulation_steps),
            training_callback=callback,
        )
    except EndOfLoop:
        return
    finally:
        # On Metal a failed command buffer is raised at the next synchronization: here, not in
        # what follows.
        mx.synchronize()
    raise RuntimeError("mlx-lm ended training by itself")


def _arguments(config: LoraConfig, recipe: Recipe, most_steps: int) -> TrainingArgs:
    return TrainingArgs(
        batch_size=config.batch_size,
        iters=most_steps,
        steps_per_report=1,
        steps_per_save=_NEVER,
        max_seq_length=config.max_seq_length,
        grad_checkpoint=config.grad_checkpoint,
        grad_accumulation_steps=config.grad_accumulation_steps,
        clear_cache_threshold=recipe.clear_cache_threshold,
    )


def announcing(
    iterate_batches: Callable[..., Iterator[Batch]],
    announce: Callable[[], None],
    accumulation: int = 1,
) -> Callable[..., Iterator[Batch]]:
    """`iterate_batches`, calling `announce` before each batch whose step compiles.

    mlx-lm takes a batch when its step begins. It compiles a step for each padded shape, without
    the optimizer's state until the first update, and with it in all others; with gradients that
    accumulate, apart for steps that begin, continue and end a cycle.
    """

    def iterate(**arguments: Any) -> Iterator[Batch]:
        compiled: set[tuple[Any, ...]] = set()
        for number, batch in enumerate(iterate_batches(**arguments)):
            place = number % accumulation
            in_cycle = place == 0, place == accumulation - 1
            kind = tuple(batch[0].shape), number >= accumulation, in_cycle
            if kind not in compiled:
                compiled.add(kind)
                announce()
            yield batch

    return iterate


def step_figures(train_info: Mapping[str, Any], earlier_tokens: int) -> dict[str, Any]:
    """The fields that StepSample and TrainedStep share, of the step that mlx-lm reports.

    `earlier_tokens` is the number of tokens that this loop trained before the step.
    """
    return {
        "loss": float(train_info["train_loss"]),
        "step_time_s": 1 / train_info["iterations_per_second"],
        "tokens": int(train_info["trained_tokens"]) - earlier_tokens,
        "peak_memory_bytes": mx.get_peak_memory(),
        "active_memory_bytes": mx.get_active_memory(),
        "cache_memory_bytes": mx.get_cache_memory(),
        "footprint_bytes": device.in_use_bytes(),
    }
