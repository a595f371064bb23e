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

from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.errors import DataError
from pytest_yourai.worker.engine import checkpoint, distributed
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.engine.batch_order import in_order
from pytest_yourai.worker.engine.last_valid_batch import LastValidBatch
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop, step_figures
from pytest_yourai.worker.engine.loss_check import check_loss
from pytest_yourai.worker.engine.memory_reasons import MemoryReasons
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
    Validating,
)


class TrainingRun(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    """Trains adapters through mlx-lm; reports, saves and validates after each step.

    Of several ranks one saves, and all end, or leave a validation, after the same step.

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
        self._services: Any = None
        self._loop_tokens = 0
        self.progress = self._whole = self._saved = TrainingProgress()
        """By now, after the last whole cycle, and in the checkpoint."""
        self._save_is_due = False
        self._memory = MemoryReasons(request, 0)
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
            self._check_rows()
            about = self._files.begin()
            if self._files.is_written_here:
                self._report_to_services()
            self._begin(about)
            most_steps = request.parameters.max_steps - self.progress.step
            if self._has_lost_patience:
                self._end("patience")
            elif most_steps > 0:
                mx.reset_peak_memory()
                self._run(most_steps)
        return TrainingEnd(self._whole.step, self._end_reason)

    def _check_rows(self) -> None:
        """DataError where the ranks have read other rows, of which no batches could be shared."""
        counts = len(self._rows), len(self._validation_rows)
        for rows in distributed.from_all(*map(float, counts)):
            if len(set(rows)) > 1:
                found = ", ".join(f"{each:,.0f}" for each in rows)
                raise DataError(
                    f"{self._request.data} has not the same rows on all hosts ({found} on ranks 0 "
                    f"to {len(rows) - 1}): copy it to all"
                )

    def _report_to_services(self) -> None:
        request = self._request
        self._services = get_reporting_callbacks(
            request.parameters.report_to,
            project_name=request.parameters.project_name,
            log_dir=request.adapter_path,
            config=dict(request.report_config or {}),
        )

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
        self._memory = MemoryReasons(self._request, self.progress.step)
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
        interval = parameters.reload_interval
        reasons: dict[EndReason, bool] = {
            "stopped": self._should_stop(),
            "patience": self._has_lost_patience,
            **(self._memory.after(trained) if trained is not None else {}),
            "interval": bool(interval) and self._cycles.is_due(step, interval or 1),
        }
        chosen = distributed.chosen_by_any(list(reasons.values()))
        return next((reason for reason, holds in zip(reasons, chosen, strict=True) if holds), None)

    def _end(self, reason: EndReason) -> None:
        self._end_reason = reason
        step = self._whole.step
        if reason == "finished" and 0 < step == self._whole.skipped_batches:
            raise InvalidLossError(f"no loss of {step} batches was finite, so nothing was trained")
        if self._saved != self._whole and self._whole.step:
            if distributed.any_says(not self._batches.weights_are_sound(self._model.module)):
                raise InvalidLossError("the adapters give no finite loss any more")
            self._save()

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
        batch_size = distributed.divisible(min(config.batch_size, len(rows)))
        if not batch_size or parameters.val_batches == 0:
            return
        began = time.perf_counter()
        # The generator that mlx-lm's batches draw from: always the same batches.
        np.random.seed(self._request.recipe.seed)  # noqa: NPY002
        try:
            loss = evaluate(
                model=self._model.module,
                dataset=rows,
                batch_size=batch_size,
                num_batches=parameters.val_batches,
                max_seq_length=config.max_seq_length,
                progress_callback=self._end_where_asked,
            )
        except EndOfLoop:
            return
        finally:
            self._model.module.train()
        # One loss for all ranks: they decide by it, and may have summed in different orders.
        [losses] = distributed.from_all(float(loss))
        loss = losses[0]
        self.progress = self.progress.validated(loss)
        self._complete_cycle()
        best_step, best_loss = self.progress.best_step, self.progress.best_loss
        time_s = time.perf_counter() - began
        found = Validated(self.progress.step, loss, time_s, best_step, best_loss)
        self._report(found)
        if self._services is not None:
            info = {"iteration": found.step, "val_loss": found.loss, "val_time": found.time_s}
            self._services.on_val_loss_report(info)
        # The checkpoint first: it redoes the best adapters, which would be ahead of it otherwise.
        if self.progress.is_best and parameters.keep != "last":
            self._save()

    def _end_where_asked(self) -> None:
        self._report(Validating())
        if distributed.any_says(self._should_stop()):
            raise EndOfLoop
