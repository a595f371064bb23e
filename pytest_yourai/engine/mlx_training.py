"""Training with the MLX engine: mlx-lm's own, in an order of rows that can be taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx_lm.tuner.callbacks import TrainingCallback, get_reporting_callbacks
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, train
from mlx_lm.utils import save_config

from pytest_yourai.config import COMPILING_STEPS, OPTIMIZER, SAFETY_MARGIN
from pytest_yourai.engine import mlx_checkpoint, mlx_device
from pytest_yourai.engine.mlx_adapters import adapted, lora_parameters
from pytest_yourai.engine.mlx_batches import in_order
from pytest_yourai.engine.protocol import (
    EndReason,
    InvalidLossError,
    Saved,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    Validated,
)
from pytest_yourai.errors import DataError
from pytest_yourai.training.files import ADAPTER_CONFIG

_NEVER = 1 << 62
_ACTIVE_GROWTH = 1.1
"""Over what is usual after a step: more is memory that the run has lost."""


@dataclass(frozen=True)
class AdaptedModel:
    """A loaded model, what it is called, where it is, and the modules that get adapters."""

    module: nn.Module
    name: str
    path: str
    quantized_on_load: str | None
    """Bits, or `none`; None where its weights came quantized."""
    lora_keys: tuple[str, ...]


class _Ended(Exception):  # noqa: N818 - it ends mlx-lm's loop, nothing failed
    """Raised from the callback after a step, when everything is saved."""

    def __init__(self, end: TrainingEnd) -> None:
        super().__init__(end.reason)
        self.end = end


def run_training(
    model: AdaptedModel,
    request: TrainingRequest,
    rows: Any,
    validation_rows: Any,
    report: Callable[[TrainingEvent], None],
    should_stop: Callable[[], bool],
) -> TrainingEnd:
    """Adapt the model and train it through mlx-lm until all steps are done, or it is to end.

    `rows` and `validation_rows` are data sets as mlx-lm trains on them; the latter may be empty.
    The memory limit is that of a trial's measured steps. InvalidLossError where a loss is zero or
    not finite: nothing of that step is saved. DataError, ModelError where a checkpoint does not
    fit, OutputError where a file cannot be written; whatever MLX raises otherwise.
    """
    with adapted(model.module, request.config, model.lora_keys, request.seed):
        return _train(model, request, rows, validation_rows, report, should_stop)


def _train(
    model: AdaptedModel,
    request: TrainingRequest,
    rows: Any,
    validation_rows: Any,
    report: Callable[[TrainingEvent], None],
    should_stop: Callable[[], bool],
) -> TrainingEnd:
    optimizer = optimizers.Adam(learning_rate=request.learning_rate)
    folder = Path(request.adapter_path)
    first_step, trained_tokens = 0, 0
    if request.resume:
        about = mlx_checkpoint.restore_checkpoint(folder, model.module, optimizer)
        first_step, trained_tokens = int(about["step"]), int(about["trained_tokens"])
        _check_rows(rows, about, request)
    else:
        save_config(_adapter_config(model, request), folder / ADAPTER_CONFIG)
    run = _Run(model, optimizer, request, rows, validation_rows, report, should_stop)
    run.begin(first_step, trained_tokens)
    mx.set_memory_limit(int(request.memory_limit_bytes / SAFETY_MARGIN))
    mx.reset_peak_memory()
    try:
        train(
            model=model.module,
            optimizer=optimizer,
            train_dataset=rows,
            args=TrainingArgs(
                batch_size=request.config.batch_size,
                iters=request.max_steps - first_step,
                steps_per_report=1,
                steps_per_save=_NEVER,
                max_seq_length=request.config.max_seq_length,
                grad_checkpoint=request.config.grad_checkpoint,
            ),
            iterate_batches=in_order(request.seed, first_step),
            training_callback=run,
        )
    except _Ended as ended:
        return ended.end
    finally:
        # On Metal a failed command buffer is raised at the next synchronization.
        mx.synchronize()
    raise RuntimeError("mlx-lm ended training by itself")


class _Run(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    """Reports, saves and validates after each step, and ends the run when it is due."""

    def __init__(
        self,
        model: AdaptedModel,
        optimizer: optimizers.Optimizer,
        request: TrainingRequest,
        rows: Any,
        validation_rows: Any,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._model, self._optimizer, self._request = model, optimizer, request
        self._folder = Path(request.adapter_path)
        self._rows, self._validation_rows = rows, validation_rows
        self._report, self._should_stop = report, should_stop
        self._services = get_reporting_callbacks(
            request.report_to,
            project_name=request.project_name,
            log_dir=request.adapter_path,
            config=dict(request.report_config or {}),
        )
        self._first_step = self._step = 0
        self._earlier_tokens = self._trained_tokens = 0
        self._usual_active_bytes = request.usual_active_bytes

    def begin(self, first_step: int, trained_tokens: int) -> None:
        """Training goes on after `first_step` steps and as many tokens; 0 for a new run."""
        self._first_step = self._step = first_step
        self._earlier_tokens = self._trained_tokens = trained_tokens
        if first_step == 0:
            self._validate()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        trained = self._trained(train_info)
        self._report(trained)
        if trained.loss == 0 or not math.isfinite(trained.loss):
            raise InvalidLossError(f"the loss was {trained.loss} in step {trained.step}")
        if self._services is not None:
            totals = {"iteration": self._step, "trained_tokens": self._trained_tokens}
            self._services.on_train_loss_report({**train_info, **totals})
        is_saved = self._step % self._request.save_every == 0
        if is_saved:
            self._save()
            mlx_checkpoint.save_adapters(self._folder, self._model.module, self._step)
        if self._step % self._request.steps_per_eval == 0 or self._step == self._request.max_steps:
            self._validate()
        if reason := self._reason_to_end(trained):
            if not is_saved:
                self._save()
            raise _Ended(TrainingEnd(self._step, reason))
        mx.reset_peak_memory()

    def _trained(self, train_info: dict[str, Any]) -> TrainedStep:
        self._step += 1
        total = self._earlier_tokens + int(train_info["trained_tokens"])
        tokens, self._trained_tokens = total - self._trained_tokens, total
        return TrainedStep(
            step=self._step,
            loss=float(train_info["train_loss"]),
            learning_rate=float(train_info["learning_rate"]),
            step_time_s=1 / train_info["iterations_per_second"],
            tokens=tokens,
            peak_memory_bytes=mx.get_peak_memory(),
            active_memory_bytes=mx.get_active_memory(),
            cache_memory_bytes=mx.get_cache_memory(),
            footprint_bytes=mlx_device.footprint_bytes(),
        )

    def _reason_to_end(self, trained: TrainedStep) -> EndReason | None:
        request, in_process = self._request, self._step - self._first_step
        if self._usual_active_bytes is None and in_process > COMPILING_STEPS:
            self._usual_active_bytes = trained.active_memory_bytes
        if self._step == request.max_steps:
            return "finished"
        if self._should_stop():
            return "stopped"
        if request.reload_interval and self._step % request.reload_interval == 0:
            return "interval"
        usual = self._usual_active_bytes
        if request.reload_active_bytes is not None and usual is not None:
            most = max(request.reload_active_bytes, _ACTIVE_GROWTH * usual)
            if trained.active_memory_bytes > most:
                return "active_memory"
        most_held = request.reload_footprint_bytes
        if most_held is not None and (trained.footprint_bytes or 0) > most_held:
            return "footprint"
        return None

    def _save(self) -> None:
        about = {
            **_about(self._model, self._request),
            "rows": len(self._rows),
            "step": self._step,
            "trained_tokens": self._trained_tokens,
        }
        mlx_checkpoint.save_checkpoint(self._folder, self._model.module, self._optimizer, about)
        mlx_checkpoint.save_adapters(self._folder, self._model.module)
        self._report(Saved(self._step))

    def _validate(self) -> None:
        """With the same batches each time, so that losses can be compared."""
        request = self._request
        if not len(self._validation_rows) or request.val_batches == 0:
            return
        batch_size = min(request.config.batch_size, len(self._validation_rows))
        began = time.perf_counter()
        np.random.seed(request.seed)  # noqa: NPY002 - the generator that mlx-lm's batches draw from
        loss = evaluate(
            model=self._model.module,
            dataset=self._validation_rows,
            batch_size=batch_size,
            num_batches=request.val_batches,
            max_seq_length=request.config.max_seq_length,
        )
        self._model.module.train()
        validated = Validated(self._step, float(loss), time.perf_counter() - began)
        self._report(validated)
        if self._services is not None:
            self._services.on_val_loss_report(
                {
                    "iteration": validated.step,
                    "val_loss": validated.loss,
                    "val_time": validated.time_s,
                }
            )


def _about(model: AdaptedModel, request: TrainingRequest) -> dict[str, Any]:
    """What must be the same when training goes on."""
    return {
        **(request.about or {}),
        "model": model.name,
        "batch_size": request.config.batch_size,
        "rank": request.config.rank,
        "num_layers": request.config.num_layers,
        "max_seq_length": request.config.max_seq_length,
        "grad_checkpoint": request.config.grad_checkpoint,
        "lora_keys": list(model.lora_keys),
        "quantize": model.quantized_on_load,
        "learning_rate": request.learning_rate,
        "max_steps": request.max_steps,
        "data": request.data,
        "mask_prompt": request.mask_prompt,
        "seed": request.seed,
    }


def _adapter_config(model: AdaptedModel, request: TrainingRequest) -> dict[str, Any]:
    """As mlx-lm writes it beside its adapters, and reads it to load them."""
    return {
        "model": model.path,
        "train": True,
        "fine_tune_type": "lora",
        "optimizer": OPTIMIZER,
        "data": request.data,
        "seed": request.seed,
        "num_layers": request.config.num_layers,
        "batch_size": request.config.batch_size,
        "iters": request.max_steps,
        "learning_rate": request.learning_rate,
        "max_seq_length": request.config.max_seq_length,
        "grad_checkpoint": request.config.grad_checkpoint,
        "mask_prompt": request.mask_prompt,
        "adapter_path": request.adapter_path,
        "save_every": request.save_every,
        "lora_parameters": lora_parameters(request.config, model.lora_keys),
    }


def _check_rows(rows: Any, about: dict[str, Any], request: TrainingRequest) -> None:
    if len(rows) != about["rows"]:
        raise DataError(
            f"{request.data} has {len(rows)} rows, and had {about['rows']} when training began: "
            "put the old rows back, or train anew with another --adapter-path"
        )
