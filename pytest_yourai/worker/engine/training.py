"""Training through mlx-lm, in an order of rows that can be resumed."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.callbacks import TrainingCallback, get_reporting_callbacks
from mlx_lm.tuner.trainer import evaluate

from pytest_yourai.core.config import COMPILING_STEPS, SAFETY_MARGIN
from pytest_yourai.core.errors import CheckpointError, DataError
from pytest_yourai.core.files import write_atomically
from pytest_yourai.worker.engine import checkpoint
from pytest_yourai.worker.engine.adapters import BaseModel, adapter_config
from pytest_yourai.worker.engine.batch_order import in_order
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop, step_figures
from pytest_yourai.worker.engine.optimizer import make_optimizer
from pytest_yourai.worker.protocol import (
    ADAPTER_CONFIG,
    Compiling,
    EndReason,
    InvalidLossError,
    Saved,
    Saving,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    Validated,
)

_ACTIVE_GROWTH = 1.1
"""Times the usual active memory after a step: more is memory that the run has lost."""

_ALMOST_LEARNED = 0.05
"""A loss after which 0 is plausible."""


class TrainingRun(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    """Trains adapters through mlx-lm; reports, saves and validates after each step.

    `rows` and `validation_rows` are data sets as mlx-lm trains on them; the latter may be empty.
    """

    def __init__(
        self,
        model: BaseModel,
        request: TrainingRequest,
        rows: Any,
        validation_rows: Any,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._model, self._request = model, request
        self._optimizer = make_optimizer(request.config, request.recipe)
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
        self._end_reason: EndReason = "finished"

    def train(self) -> TrainingEnd:
        """Begin, or resume from a checkpoint; returns once everything is saved.

        The memory limit is that of a trial's measured steps. InvalidLossError where a loss is zero
        or not finite: nothing of that step is saved. DataError, ModelError where a checkpoint does
        not fit, OutputError where a file cannot be written; whatever MLX raises otherwise.
        """
        request = self._request
        mx.set_memory_limit(int(request.memory_limit_bytes / SAFETY_MARGIN))
        with self._model.adapted(request.config, request.recipe):
            checkpoint.remove_leftovers(self._folder)
            about = self._restore() if request.first_step else {}
            config = json.dumps(adapter_config(self._model, request), indent=4, sort_keys=True)
            write_atomically(self._folder / ADAPTER_CONFIG, f"{config}\n", "--adapter-path")
            self._begin(about)
            most_steps = request.parameters.max_steps - self.step
            if most_steps > 0:
                mx.reset_peak_memory()
                run_loop(
                    self._model.module,
                    self._optimizer,
                    self._rows,
                    request.config,
                    request.recipe,
                    most_steps,
                    in_order(request.recipe.seed, self.step),
                    self,
                    lambda: self._report(Compiling()),
                )
        return TrainingEnd(self.step, self._end_reason)

    def _restore(self) -> dict[str, Any]:
        """Restore the checkpoint; DataError where the data has another number of rows by now.

        CheckpointError where it is of another step than asked for, so that no step is left out.
        """
        about = checkpoint.restore_checkpoint(self._folder, self._model.module, self._optimizer)
        if about["step"] != self._request.first_step:
            raise CheckpointError(
                f"{self._folder} has a checkpoint of step {about['step']} by now, where step "
                f"{self._request.first_step} was: run the same command again"
            )
        if len(self._rows) != about["rows"]:
            raise DataError(
                f"{self._request.data} has {len(self._rows)} rows, and had {about['rows']} when "
                "training began: put the old rows back, or train anew with another --adapter-path"
            )
        return about

    def _begin(self, about: Mapping[str, Any]) -> None:
        """Start from a checkpoint's metadata, empty for a new run, and redo what followed it."""
        self._first_step = self.step = int(about.get("step", 0))
        self._validated_step = about.get("validated_step")
        self._earlier_tokens = self._trained_tokens = int(about.get("trained_tokens", 0))
        if self.step:
            self._save_adapters()
        if self._is_validation_due and self._validated_step != self.step:
            self._validate()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.step += 1
        figures = step_figures(train_info, self._trained_tokens - self._earlier_tokens)
        self._trained_tokens += figures["tokens"]
        rate = float(train_info["learning_rate"])
        trained = TrainedStep(step=self.step, learning_rate=rate, **figures)
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
            self._end_reason = reason
            raise EndOfLoop
        mx.reset_peak_memory()

    @property
    def _is_validation_due(self) -> bool:
        parameters = self._request.parameters
        return self.step % parameters.steps_per_eval == 0 or self.step == parameters.max_steps

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
        request, source = self._request, self._model.source
        is_stored_quantized = "quantization" in source.architecture
        bits = str(source.quantization.bits) if source.quantization else "none"
        about = {
            **(request.about or {}),
            "model": source.name,
            **dataclasses.asdict(request.config),
            "quantize": None if is_stored_quantized else bits,
            "data": request.data,
            **dataclasses.asdict(request.parameters),
            "learning_rate": request.recipe.learning_rate,
            "seed": request.recipe.seed,
            "mask_prompt": request.recipe.mask_prompt,
            "recipe": dataclasses.asdict(request.recipe),
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
        """True if there is a new loss, which the checkpoint lacks."""
        parameters, config, rows = (
            self._request.parameters,
            self._request.config,
            self._validation_rows,
        )
        if not len(rows) or parameters.val_batches == 0:
            return False
        began = time.perf_counter()
        # The generator that mlx-lm's batches draw from: always the same batches.
        np.random.seed(self._request.recipe.seed)  # noqa: NPY002
        try:
            loss = evaluate(
                model=self._model.module,
                dataset=rows,
                batch_size=min(config.batch_size, len(rows)),
                num_batches=parameters.val_batches,
                max_seq_length=config.max_seq_length,
                progress_callback=self._end_where_asked,
            )
        except EndOfLoop:
            return False
        finally:
            self._model.module.train()
        found = Validated(self.step, float(loss), time.perf_counter() - began)
        self._validated_step = self.step
        self._report(found)
        if self._services is not None:
            info = {"iteration": found.step, "val_loss": found.loss, "val_time": found.time_s}
            self._services.on_val_loss_report(info)
        return True

    def _end_where_asked(self) -> None:
        if self._should_stop():
            raise EndOfLoop


def check_loss(trained: TrainedStep, last_loss: float) -> None:
    """InvalidLossError, or DataError where there was nothing to learn from.

    A failing GPU may return zeros; but in bfloat16 rows learned by heart have a loss of 0.
    """
    if not trained.tokens:
        raise DataError(
            "a batch has no token to train: its prompts, which --mask-prompt leaves out, are as "
            "long as --seq-length; shorten them, or make it longer"
        )
    is_sudden = trained.loss == 0 and last_loss > _ALMOST_LEARNED
    if is_sudden or not math.isfinite(trained.loss):
        raise InvalidLossError(f"the loss was {trained.loss}")
