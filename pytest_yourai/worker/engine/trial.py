"""One trial of the MLX engine: mlx-lm's own training, observed and steered by a callback."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import iterate_batches

from pytest_yourai.core.config import LEARNING_RATE, SAFETY_MARGIN, LoraConfig, minimum_memory_bytes
from pytest_yourai.worker.engine import device
from pytest_yourai.worker.engine.adapters import adapted
from pytest_yourai.worker.engine.dataset import Batch, TrainingRows
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop
from pytest_yourai.worker.protocol import (
    InvalidLossError,
    Measurement,
    Phase,
    StepSample,
    TrialRequest,
)

_BATCHES_OF_SYNTHETIC_ROWS = 4

_BASE_TOLERANCE = 0.01


class _Recorder(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    """Reads each step, and moves the memory limit from phase to phase.

    MLX's evaluator runs ahead of the device and allocates as it goes, until active memory passes
    the memory limit. Warm-up runs with the limit at the base, which measures what the
    configuration needs; measured steps with what the budget allows.
    """

    def __init__(
        self, request: TrialRequest, base_bytes: int, report: Callable[[StepSample], None]
    ) -> None:
        self._request = request
        self._report = report
        self._trained_tokens = 0
        self.phase: Phase = "warmup"
        self.warmup_times_s: list[float] = []
        self.warmup_peaks: list[int] = []
        self.settling_steps = 1
        self._settled_steps = 0
        self.measured_steps = 0
        mx.set_memory_limit(base_bytes)
        mx.reset_peak_memory()

    @property
    def minimum_bytes(self) -> int:
        return minimum_memory_bytes(self.warmup_peaks)

    @property
    def fits(self) -> bool:
        return self.minimum_bytes * SAFETY_MARGIN <= self._request.memory_limit_bytes

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        peak = mx.get_peak_memory()
        step_time_s = 1 / train_info["iterations_per_second"]
        loss = float(train_info["train_loss"])
        self._send(train_info, step_time_s, loss, peak)
        if loss == 0 or not math.isfinite(loss):
            raise InvalidLossError(f"the loss was {loss} in a {self.phase} step")
        self._advance(step_time_s, peak)
        mx.reset_peak_memory()

    def _send(self, train_info: dict[str, Any], step_time_s: float, loss: float, peak: int) -> None:
        trained = int(train_info["trained_tokens"])
        self._report(
            StepSample(
                phase=self.phase,
                loss=loss,
                step_time_s=step_time_s,
                peak_memory_bytes=peak,
                active_memory_bytes=mx.get_active_memory(),
                cache_memory_bytes=mx.get_cache_memory(),
                footprint_bytes=device.in_use_bytes(),
                tokens=trained - self._trained_tokens,
            )
        )
        self._trained_tokens = trained

    def _advance(self, step_time_s: float, peak: int) -> None:
        match self.phase:
            case "warmup":
                self.warmup_times_s.append(step_time_s)
                self.warmup_peaks.append(peak)
                if self._request.plan.warmup_is_over(self.warmup_times_s):
                    if not self.fits:
                        raise EndOfLoop
                    mx.set_memory_limit(int(self._request.memory_limit_bytes / SAFETY_MARGIN))
                    self.phase = "settle"
            case "settle":
                self._settled_steps += 1
                if self._settled_steps == self.settling_steps:
                    self.phase = "measure"
            case "measure":
                self.measured_steps += 1
                if self.measured_steps == self._request.plan.measured_steps:
                    raise EndOfLoop


def run_trial(
    model: nn.Module,
    base_bytes: int,
    lora_keys: tuple[str, ...],
    request: TrialRequest,
    data: TrainingRows | None,
    report: Callable[[StepSample], None],
) -> Measurement:
    """Adapt `model`, train it through mlx-lm, and take the adapters off again.

    `base_bytes` is the active memory of the loaded model; without `data` rows are made up.
    InvalidLossError where a loss is zero or not finite; whatever MLX raises otherwise.
    """
    with _adapted(model, lora_keys, request):
        recorder = _Recorder(request, base_bytes, report)
        run_loop(
            model,
            optimizers.Adam(learning_rate=LEARNING_RATE),
            synthetic_rows(model, request.config, request.seed) if data is None else data,
            request.config,
            request.plan.most_steps,
            iterate_batches if data is None else _longest_first(recorder, request),
            recorder,
        )
    gc.collect()
    mx.clear_cache()
    drift = abs(mx.get_active_memory() - base_bytes)
    return Measurement(
        fits=recorder.fits,
        memory_is_back_at_base=drift <= base_bytes * _BASE_TOLERANCE,
    )


@contextmanager
def _adapted(model: nn.Module, lora_keys: tuple[str, ...], request: TrialRequest) -> Iterator[None]:
    leaves = model.leaf_modules()
    np.random.seed(request.seed)  # noqa: NPY002 - the generator that mlx-lm's batches draw from
    try:
        with adapted(model, request.config, lora_keys, request.seed):
            yield
    finally:
        model.update_modules(leaves)
        model.freeze()
        model.eval()


def _longest_first(recorder: _Recorder, request: TrialRequest) -> Callable[..., Iterator[Batch]]:
    """A replacement of mlx-lm's `iterate_batches`, which still makes each batch.

    mlx-lm takes the next batch after it has reported the step before, so that this can follow the
    recorder's phases: the longest batch alone while warming up, then each padded shape once (each
    compiles), then all batches, again and again.
    """

    def iterate(
        dataset: TrainingRows, batch_size: int, max_seq_length: int, loop: bool, comm_group: Any
    ) -> Iterator[Batch]:
        batches = dataset.longest_batches(
            request.plan.measured_steps, batch_size, max_seq_length, comm_group
        )
        shapes: dict[tuple[int, ...], Batch] = {}
        for batch in batches:
            shapes.setdefault(batch[0].shape, batch)
        recorder.settling_steps = len(shapes)
        while recorder.phase == "warmup":
            yield batches[0]
        yield from shapes.values()
        if loop:
            yield from itertools.cycle(batches)

    return iterate


def synthetic_rows(model: nn.Module, config: LoraConfig, seed: int) -> list[tuple[list[int], int]]:
    """Rows of random tokens, each max_seq_length long, as (tokens, prompt length)."""
    vocabulary = int(getattr(model.args, "vocab_size", 256))
    shape = (config.batch_size * _BATCHES_OF_SYNTHETIC_ROWS, config.max_seq_length)
    tokens = np.random.default_rng(seed).integers(0, vocabulary, shape)
    return [(row, 0) for row in tokens.tolist()]
