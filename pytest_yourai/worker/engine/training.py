"""Training through mlx-lm, in an order of rows that can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.callbacks import TrainingCallback, get_reporting_callbacks
from mlx_lm.tuner.trainer import default_loss, evaluate

from pytest_yourai.core.config import COMPILING_STEPS, SAFETY_MARGIN
from pytest_yourai.worker.engine import checkpoint
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.engine.batch_order import in_order
from pytest_yourai.worker.engine.last_valid_batch import LastValidBatch
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop, step_figures
from pytest_yourai.worker.engine.loss_check import check_loss
from pytest_yourai.worker.engine.optimizer import make_optimizer
from pytest_yourai.worker.engine.run_files import RunFiles
from pytest_yourai.worker.engine.safe_steps import SafeSteps
from pytest_yourai.worker.progress import Cycles, TrainingProgress
from pytest_yourai.worker.protocol import (
    Compiling,
    EndReason,
    InvalidLossError,
    Saved,
    Saving,
    SkippedBatch,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    Validated,
)

_ACTIVE_GROWTH = 1.1
"""Times the usual active memory after a step: more is memory that the run has lost."""


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
        self._optimizer = optimizer = make_optimizer(request.config, request.recipe)
        self._accumulation = request.config.grad_accumulation_steps
        self._cycles = Cycles(request.parameters.max_steps, self._accumulation)
        self._rows, self._validation_rows = rows, validation_rows
        self._report, self._should_stop = report, should_stop
        self._files = RunFiles(model, optimizer, request, len(rows))
        self._services = get_reporting_callbacks(
            request.parameters.report_to,
            project_name=request.parameters.project_name,
            log_dir=request.adapter_path,
            config=dict(request.report_config or {}),
        )
        self._first_step = self._loop_tokens = 0
        self.progress = self._whole = self._saved = TrainingProgress()
        """By now, after the last whole cycle, and in the checkpoint."""
        self._save_is_due = False
        self._usual_active_bytes = request.usual_active_bytes
        self._last_loss = math.inf
        self._batches = LastValidBatch()
        self._end_reason: EndReason = "finished"

    def train(self) -> TrainingEnd:
        """Begin, or resume from a checkpoint; returns once everything is saved.

        The memory limit is that of a trial's measured steps. InvalidLossError where a loss is zero,
        or not finite once too often: nothing of that step is saved. DataError, ModelError where a
        checkpoint does not fit, OutputError where a file cannot be written; whatever MLX raises
        otherwise.
        """
        request = self._request
        mx.set_memory_limit(int(request.memory_limit_bytes / SAFETY_MARGIN))
        with self._model.adapted(request.config, request.recipe):
            self._begin(self._files.begin())
            most_steps = request.parameters.max_steps - self.progress.step
            if self._has_lost_patience:
                self._end("patience")
            elif most_steps > 0:
                mx.reset_peak_memory()
                self._run(most_steps)
        return TrainingEnd(self._whole.step, self._end_reason)

    def _run(self, most_steps: int) -> None:
        """Run mlx-lm's loop, with steps of our own only where a batch may be skipped or clipped."""
        parameters = self._request.parameters
        optimizer: Any = self._optimizer
        loss = default_loss
        if parameters.max_skipped_batches or parameters.max_grad_norm is not None:
            optimizer = SafeSteps(self._optimizer, self._accumulation, parameters.max_grad_norm)
            loss = optimizer.loss
        run_loop(
            self._model.module,
            optimizer,
            self._rows,
            self._request.config,
            self._request.recipe,
            most_steps,
            self._batches.watching(in_order(self._request.recipe.seed, self.progress.step)),
            self,
            lambda: self._report(Compiling()),
            loss=loss,
        )

    def _begin(self, about: Mapping[str, Any]) -> None:
        """Start from a checkpoint's metadata, empty for a new run, and redo what followed it."""
        self.progress = self._saved = TrainingProgress.of_checkpoint(about)
        self._complete_cycle()
        self._first_step = self.progress.step
        if self.progress.step:
            self._save_adapters()
        if self._is_validation_due and self.progress.validated_step != self.progress.step:
            self._validate()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        trained = self._take_in(train_info)
        if self._cycles.is_whole(self.progress.step):
            self._complete_cycle()
            interval = self._request.parameters.save_every
            self._save_is_due |= self._cycles.is_due(self.progress.step, interval)
            # Weights after which no loss was finite yet may be broken.
            if self._save_is_due and trained is not None:
                self._save()
            if self._is_validation_due:
                self._validate()
        if reason := self._reason_to_end(trained):
            self._end(reason)
            raise EndOfLoop
        mx.reset_peak_memory()

    def _take_in(self, train_info: dict[str, Any]) -> TrainedStep | None:
        """Report the step; None if its batch was skipped."""
        figures = step_figures(train_info, self._loop_tokens)
        self._loop_tokens += figures["tokens"]
        rate = float(train_info["learning_rate"])
        trained = TrainedStep(step=self.progress.step + 1, learning_rate=rate, **figures)
        is_valid = math.isfinite(trained.loss) or not trained.tokens
        self._batches.note(is_valid=is_valid)
        if not is_valid and self._may_skip:
            self.progress = self.progress.skipped()
            skipped = self.progress.skipped_batches
            self._report(SkippedBatch(trained.step, trained.loss, skipped))
            return None
        self.progress = self.progress.trained(trained.tokens)
        self._report(trained)
        check_loss(trained, self._last_loss, self.progress.skipped_batches)
        self._last_loss = trained.loss
        if self._services is not None:
            totals = {
                "iteration": trained.step,
                "trained_tokens": self.progress.trained_tokens,
            }
            self._services.on_train_loss_report({**train_info, **totals})
        return trained

    def _complete_cycle(self) -> None:
        self._whole, self._random = self.progress, checkpoint.random_state()

    @property
    def _may_skip(self) -> bool:
        return self.progress.skipped_batches < self._request.parameters.max_skipped_batches

    @property
    def _is_validation_due(self) -> bool:
        step = self.progress.step
        interval = self._request.parameters.steps_per_eval
        return self._cycles.is_due(step, interval) or self._cycles.is_last(step)

    @property
    def _has_lost_patience(self) -> bool:
        patience = self._request.parameters.patience
        return bool(patience) and self.progress.stale_validations >= patience

    def _reason_to_end(self, trained: TrainedStep | None) -> EndReason | None:
        parameters, step = self._request.parameters, self.progress.step
        if step == parameters.max_steps:
            return "finished"
        if self._should_stop():
            return "stopped"
        if self._has_lost_patience:
            return "patience"
        if trained is not None and (reason := self._memory_reason(trained)):
            return reason
        interval = parameters.reload_interval
        return "interval" if interval and self._cycles.is_due(step, interval) else None

    def _end(self, reason: EndReason) -> None:
        self._end_reason = reason
        step = self._whole.step
        if reason == "finished" and 0 < step == self._whole.skipped_batches:
            raise InvalidLossError(f"no loss of {step} batches was finite, so nothing was trained")
        if self._saved != self._whole and self._whole.step:
            if not self._batches.weights_are_sound(self._model.module):
                raise InvalidLossError("the adapters give no finite loss any more")
            self._save()

    def _memory_reason(self, trained: TrainedStep) -> EndReason | None:
        request, is_whole = self._request, self._cycles.is_whole(trained.step)
        is_warm = trained.step - self._first_step > COMPILING_STEPS * self._accumulation
        # Within a cycle the accumulated gradients are held, too.
        if self._usual_active_bytes is None and is_warm and is_whole:
            self._usual_active_bytes = trained.active_memory_bytes
        # A fresh process would begin the cycle anew.
        if is_whole and (reason := self._reason_to_reload(trained)):
            return reason
        is_over = is_warm and trained.peak_memory_bytes > request.memory_limit_bytes
        return "memory_limit" if is_over and not request.may_pass_the_limit else None

    def _reason_to_reload(self, trained: TrainedStep) -> EndReason | None:
        request, usual = self._request, self._usual_active_bytes
        if request.reload_active_bytes is not None and usual is not None:
            most = max(request.reload_active_bytes, _ACTIVE_GROWTH * usual)
            if trained.active_memory_bytes > most:
                return "active_memory"
        most_held = request.reload_footprint_bytes
        if most_held is not None and (trained.footprint_bytes or 0) > most_held:
            return "footprint"
        return None

    def _save(self) -> None:
        """Save the last whole cycle; what followed it has not changed the adapters yet."""
        self._report(Saving(self._whole.step))
        self._files.save_checkpoint(self._whole, self._random)
        self._report(Saved(self._whole.step))
        self._saved, self._save_is_due = self._whole, False
        self._save_adapters()

    def _save_adapters(self) -> None:
        """Save those of the checkpoint, in all the files that keep them."""
        step = self._whole.step
        is_numbered = self._cycles.is_due(step, self._request.parameters.save_every)
        self._files.save_last(step, is_numbered=is_numbered)
        if self._whole.is_best:
            self._files.save_best()

    def _validate(self) -> None:
        """Validate after a whole cycle, and save if no adapters were better."""
        parameters, config, rows = (
            self._request.parameters,
            self._request.config,
            self._validation_rows,
        )
        if not len(rows) or parameters.val_batches == 0:
            return
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
            return
        finally:
            self._model.module.train()
        self.progress = self.progress.validated(float(loss))
        self._complete_cycle()
        best_step, best_loss = self.progress.best_step, self.progress.best_loss
        time_s = time.perf_counter() - began
        found = Validated(self.progress.step, float(loss), time_s, best_step, best_loss)
        self._report(found)
        if self._services is not None:
            info = {"iteration": found.step, "val_loss": found.loss, "val_time": found.time_s}
            self._services.on_val_loss_report(info)
        # The checkpoint first: it redoes the best adapters, which would be ahead of it otherwise.
        if self.progress.is_best and parameters.keep != "last":
            self._save()

    def _end_where_asked(self) -> None:
        if self._should_stop():
            raise EndOfLoop
