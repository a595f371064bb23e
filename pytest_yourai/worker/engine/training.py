"""Training with the MLX engine: mlx-lm's own, in an order of rows that can be taken up again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx_lm.tuner.callbacks import TrainingCallback, get_reporting_callbacks
from mlx_lm.tuner.trainer import TrainingArgs, train

from pytest_yourai.core.config import COMPILING_STEPS, OPTIMIZER, SAFETY_MARGIN
from pytest_yourai.core.errors import DataError
from pytest_yourai.core.files import write_atomically
from pytest_yourai.worker.engine import checkpoint, device
from pytest_yourai.worker.engine.adapters import adapted, lora_parameters
from pytest_yourai.worker.engine.dataset import in_order
from pytest_yourai.worker.engine.validation import validate
from pytest_yourai.worker.protocol import (
    ADAPTER_CONFIG,
    EndReason,
    InvalidLossError,
    Saved,
    Saving,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
)

_NEVER = 1 << 62

_ACTIVE_GROWTH = 1.1
"""Over what is usual after a step: more is memory that the run has lost."""

_ALMOST_LEARNED = 0.05
"""A loss from which 0 is no surprise."""


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
    with adapted(model.module, request.config, model.lora_keys, request.parameters.seed):
        return _train(model, request, rows, validation_rows, report, should_stop)


def _train(
    model: AdaptedModel,
    request: TrainingRequest,
    rows: Any,
    validation_rows: Any,
    report: Callable[[TrainingEvent], None],
    should_stop: Callable[[], bool],
) -> TrainingEnd:
    mx.set_memory_limit(int(request.memory_limit_bytes / SAFETY_MARGIN))
    optimizer = optimizers.Adam(learning_rate=request.parameters.learning_rate)
    folder = Path(request.adapter_path)
    checkpoint.remove_leftovers(folder)
    about: dict[str, Any] = {}
    if request.resume:
        about = checkpoint.restore_checkpoint(folder, model.module, optimizer)
        _check_rows(rows, about, request)
    config = json.dumps(_adapter_config(model, request), indent=4, sort_keys=True)
    write_atomically(folder / ADAPTER_CONFIG, f"{config}\n", "--adapter-path")
    run = _Run(model, optimizer, request, rows, validation_rows, report, should_stop)
    run.begin(about)
    if run.step >= request.parameters.max_steps:
        return TrainingEnd(run.step, "finished")
    mx.reset_peak_memory()
    try:
        train(
            model=model.module,
            optimizer=optimizer,
            train_dataset=rows,
            args=TrainingArgs(
                batch_size=request.config.batch_size,
                iters=request.parameters.max_steps - run.step,
                steps_per_report=1,
                steps_per_save=_NEVER,
                max_seq_length=request.config.max_seq_length,
                grad_checkpoint=request.config.grad_checkpoint,
            ),
            iterate_batches=in_order(request.parameters.seed, run.step),
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
            request.parameters.report_to,
            project_name=request.parameters.project_name,
            log_dir=request.adapter_path,
            config=dict(request.report_config or {}),
        )
        self._first_step = self.step = 0
        self._validated_step: int | None = None
        self._earlier_tokens = self._trained_tokens = 0
        self._usual_active_bytes = request.usual_active_bytes
        self._last_loss = math.inf

    def begin(self, about: Mapping[str, Any]) -> None:
        """A new run, or one that goes on from a checkpoint that is `about` it.

        Whatever was to follow the checkpoint, and may have been cut off, is done again.
        """
        self._first_step = self.step = int(about.get("step", 0))
        self._validated_step = about.get("validated_step")
        self._earlier_tokens = self._trained_tokens = int(about.get("trained_tokens", 0))
        if self.step:
            self._save_adapters()
        if self._is_validation_due and self._validated_step != self.step:
            self._validate()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        trained = self._trained(train_info)
        self._report(trained)
        check_loss(trained, self._last_loss)
        self._last_loss = trained.loss
        if self._services is not None:
            totals = {"iteration": self.step, "trained_tokens": self._trained_tokens}
            self._services.on_train_loss_report({**train_info, **totals})
        is_saved = self.step % self._request.parameters.save_every == 0
        if is_saved:
            self._save()
        if self._is_validation_due and self._validate():
            is_saved = False
        if reason := self._reason_to_end(trained):
            if not is_saved:
                self._save()
            raise _Ended(TrainingEnd(self.step, reason))
        mx.reset_peak_memory()

    @property
    def _is_validation_due(self) -> bool:
        parameters = self._request.parameters
        return self.step % parameters.steps_per_eval == 0 or self.step == parameters.max_steps

    def _trained(self, train_info: dict[str, Any]) -> TrainedStep:
        self.step += 1
        total = self._earlier_tokens + int(train_info["trained_tokens"])
        tokens, self._trained_tokens = total - self._trained_tokens, total
        return TrainedStep(
            step=self.step,
            loss=float(train_info["train_loss"]),
            learning_rate=float(train_info["learning_rate"]),
            step_time_s=1 / train_info["iterations_per_second"],
            tokens=tokens,
            peak_memory_bytes=mx.get_peak_memory(),
            active_memory_bytes=mx.get_active_memory(),
            cache_memory_bytes=mx.get_cache_memory(),
            footprint_bytes=device.footprint_bytes(),
        )

    def _reason_to_end(self, trained: TrainedStep) -> EndReason | None:
        parameters, in_process = self._request.parameters, self.step - self._first_step
        if self._usual_active_bytes is None and in_process > COMPILING_STEPS:
            self._usual_active_bytes = trained.active_memory_bytes
        if self.step == parameters.max_steps:
            return "finished"
        if self._should_stop():
            return "stopped"
        if reason := self._memory_reason(trained, is_warm=in_process > COMPILING_STEPS):
            return reason
        interval = parameters.reload_interval
        return "interval" if interval and self.step % interval == 0 else None

    def _memory_reason(self, trained: TrainedStep, *, is_warm: bool) -> EndReason | None:
        request, usual = self._request, self._usual_active_bytes
        if request.reload_active_bytes is not None and usual is not None:
            most = max(request.reload_active_bytes, _ACTIVE_GROWTH * usual)
            if trained.active_memory_bytes > most:
                return "active_memory"
        most_held = request.reload_footprint_bytes
        if most_held is not None and (trained.footprint_bytes or 0) > most_held:
            return "footprint"
        is_over = is_warm and trained.peak_memory_bytes > request.memory_limit_bytes
        return "memory_limit" if is_over and not request.may_pass_the_limit else None

    def _save(self) -> None:
        about = {
            **_about(self._model, self._request),
            "rows": len(self._rows),
            "step": self.step,
            "validated_step": self._validated_step,
            "trained_tokens": self._trained_tokens,
        }
        self._report(Saving(self.step))
        checkpoint.save_checkpoint(self._folder, self._model.module, self._optimizer, about)
        self._report(Saved(self.step))
        self._save_adapters()

    def _save_adapters(self) -> None:
        checkpoint.save_adapters(self._folder, self._model.module)
        if self.step % self._request.parameters.save_every == 0:
            checkpoint.save_adapters(self._folder, self._model.module, self.step)

    def _validate(self) -> bool:
        """Whether there is a loss that the checkpoint does not know of."""
        found = validate(
            self._model.module, self._validation_rows, self._request, self.step, self._should_stop
        )
        if found is None:
            return False
        self._validated_step = self.step
        self._report(found)
        if self._services is not None:
            info = {"iteration": found.step, "val_loss": found.loss, "val_time": found.time_s}
            self._services.on_val_loss_report(info)
        return True


def check_loss(trained: TrainedStep, last_loss: float) -> None:
    """InvalidLossError, or DataError where there was nothing to learn from.

    A GPU that fails may give zeros; but what is learned by heart has a loss of 0 in bfloat16.
    """
    if not trained.tokens:
        raise DataError(
            "a batch has no token to train: its prompts, which --mask-prompt leaves out, are as "
            "long as --seq-length; shorten them, or make it longer"
        )
    is_sudden = trained.loss == 0 and last_loss > _ALMOST_LEARNED
    if is_sudden or not math.isfinite(trained.loss):
        raise InvalidLossError(f"the loss was {trained.loss}")


def _about(model: AdaptedModel, request: TrainingRequest) -> dict[str, Any]:
    """The run in a checkpoint: what must be the same when training goes on, and the rest of it."""
    return {
        **(request.about or {}),
        "model": model.name,
        **dataclasses.asdict(request.config),
        "lora_keys": list(model.lora_keys),
        "quantize": model.quantized_on_load,
        "data": request.data,
        **dataclasses.asdict(request.parameters),
    }


def _adapter_config(model: AdaptedModel, request: TrainingRequest) -> dict[str, Any]:
    """As mlx-lm writes it beside its adapters, and reads it to load them."""
    parameters = request.parameters
    return {
        "model": model.path,
        "train": True,
        "fine_tune_type": "lora",
        "optimizer": OPTIMIZER,
        "data": request.data,
        "seed": parameters.seed,
        "num_layers": request.config.num_layers,
        "batch_size": request.config.batch_size,
        "iters": parameters.max_steps,
        "learning_rate": parameters.learning_rate,
        "max_seq_length": request.config.max_seq_length,
        "grad_checkpoint": request.config.grad_checkpoint,
        "mask_prompt": parameters.mask_prompt,
        "adapter_path": request.adapter_path,
        "save_every": parameters.save_every,
        "lora_parameters": lora_parameters(request.config, model.lora_keys),
    }


def _check_rows(rows: Any, about: dict[str, Any], request: TrainingRequest) -> None:
    if len(rows) != about["rows"]:
        raise DataError(
            f"{request.data} has {len(rows)} rows, and had {about['rows']} when training began: "
            "put the old rows back, or train anew with another --adapter-path"
        )
