"""One trial of the MLX engine: mlx-lm's own training, observed and steered by a callback."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import iterate_batches

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.cycles import TrialSteps, whole_cycles
from pytest_yourai.worker.engine import distributed
from pytest_yourai.worker.engine.adapters import BaseModel, put_back
from pytest_yourai.worker.engine.loop import EndOfLoop, run_loop, step_figures
from pytest_yourai.worker.engine.optimizer import make_optimizer
from pytest_yourai.worker.engine.restoring import restore
from pytest_yourai.worker.engine.training_rows import Batch, TrainingRows
from pytest_yourai.worker.engine.weights import embedding_rows
from pytest_yourai.worker.protocol import (
    Compiling,
    InvalidLossError,
    Measurement,
    Phase,
    StepSample,
    TrialEvent,
    TrialRequest,
)

_BATCHES_OF_SYNTHETIC_ROWS = 4

_BASE_TOLERANCE = 0.01

_LEAST_VOCABULARY = 256
"""Ids of a model that does not tell how many it knows."""


class _Recorder(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    """Reads each step, and moves the memory limit from phase to phase.

    MLX's evaluator runs ahead of the device and allocates as it goes, until active memory passes
    the memory limit. Warm-up runs with the limit at the base, which measures what the
    configuration needs; measured steps with what the budget allows. Each phase has whole cycles.
    Ranks go from phase to phase together, by the largest of their figures.
    """

    def __init__(
        self, request: TrialRequest, base_bytes: int, report: Callable[[StepSample], None]
    ) -> None:
        self._request = request
        self.steps = TrialSteps.of(request.plan, request.config)
        self._report = report
        self._trained_tokens = 0
        self.phase: Phase = "warmup"
        self._warmup_times_s: list[float] = []
        self._warmup_peaks: list[int] = []
        self.settling_steps = self.steps.accumulation
        self.survey_steps = 0
        self._steps_in_phase = 0
        mx.set_memory_limit(base_bytes)
        mx.reset_peak_memory()

    @property
    def fits(self) -> bool:
        needed = self.steps.minimum_bytes(self._warmup_peaks) * SAFETY_MARGIN
        return needed <= self._request.memory_limit_bytes

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        sample = StepSample(phase=self.phase, **step_figures(train_info, self._trained_tokens))
        self._trained_tokens += sample.tokens
        self._report(sample)
        if sample.loss == 0 or not math.isfinite(sample.loss):
            raise InvalidLossError(f"the loss was {sample.loss} in a {self.phase} step")
        self._advance(sample)
        mx.reset_peak_memory()

    def _advance(self, sample: StepSample) -> None:
        match self.phase:
            case "warmup":
                figures = sample.step_time_s, float(sample.peak_memory_bytes)
                times_s, peaks = distributed.from_all(*figures)
                self._warmup_times_s.append(max(times_s))
                self._warmup_peaks.append(int(max(peaks)))
                if self.steps.warmup_is_over(self._warmup_times_s):
                    if not self.fits:
                        raise EndOfLoop
                    mx.set_memory_limit(int(self._request.memory_limit_bytes / SAFETY_MARGIN))
                    self.phase = "settle"
            case "settle":
                self._steps_in_phase += 1
                if self._steps_in_phase == self.settling_steps:
                    self.phase, self._steps_in_phase = "measure", 0
            case "measure":
                self._steps_in_phase += 1
                if self._steps_in_phase == self.steps.measured_steps:
                    self._begin_survey()
            case "survey":
                self._steps_in_phase += 1
                if self._steps_in_phase == self.survey_steps:
                    raise EndOfLoop

    def _begin_survey(self) -> None:
        if not self.survey_steps:
            raise EndOfLoop
        self.phase, self._steps_in_phase = "survey", 0


def run_trial(
    model: BaseModel,
    request: TrialRequest,
    data: TrainingRows | None,
    report: Callable[[TrialEvent], None],
) -> Measurement:
    """Adapt `model`, train it through mlx-lm, and undo both; None trains made-up rows.

    InvalidLossError where a loss is zero or not finite; whatever MLX raises otherwise. The base
    may be trained by then, and is not restored.
    """
    module, config = model.module, request.config
    all_sum = None
    np.random.seed(request.recipe.seed)  # noqa: NPY002 - the generator that mlx-lm's batches draw from
    with put_back(module), model.adapted(config, request.recipe) as changed:
        recorder = _Recorder(request, model.active_bytes, report)
        run_loop(
            module,
            make_optimizer(config, request.recipe),
            synthetic_rows(module, config, request.recipe.seed) if data is None else data,
            config,
            request.recipe,
            recorder.steps.most_steps,
            iterate_batches if data is None else _longest_first(recorder),
            recorder,
            lambda: report(Compiling()),
        )
        if recorder.fits and distributed.is_one_of_several():
            all_sum = distributed.time_all_sum(module.trainable_parameters())
    if changed:
        restore(module, model.source, changed)
    gc.collect()
    mx.clear_cache()
    drift = abs(mx.get_active_memory() - model.active_bytes)
    is_back = drift <= model.active_bytes * _BASE_TOLERANCE
    return Measurement(recorder.fits, is_back, all_sum)


def _longest_first(recorder: _Recorder) -> Callable[..., Iterator[Batch]]:
    """A replacement of mlx-lm's `iterate_batches`, which still makes each batch.

    mlx-lm takes the next batch after it has reported the step before, so that this can follow the
    recorder's phases: the longest batch alone while warming up, then each measured cycle that has
    something new to compile, then all batches, again and again, and last a survey of shorter ones.
    """

    def iterate(
        dataset: TrainingRows, batch_size: int, max_seq_length: int, loop: bool, comm_group: Any
    ) -> Iterator[Batch]:
        steps = recorder.steps.measured_steps
        batches = dataset.longest_batches(steps, batch_size, max_seq_length, comm_group)
        measured = list(itertools.islice(itertools.cycle(batches), steps))
        settling = list(_settling(measured, recorder.steps.accumulation))
        recorder.settling_steps = len(settling)
        survey = recorder.steps.survey(
            dataset.surveyed_batches(steps, batch_size, max_seq_length, comm_group)
        )
        recorder.survey_steps = len(survey)
        while recorder.phase == "warmup":
            yield batches[0]
        yield from settling
        again = itertools.cycle(measured)
        while loop and recorder.phase != "survey":
            yield next(again)
        yield from survey

    return iterate


def _settling(measured: Sequence[Batch], accumulation: int) -> Iterator[Batch]:
    """The batches of each measured cycle that compiles, on any rank, whatever was compiled before.

    A step compiles for its padded shape and its place in the cycle: first, last or between.
    """
    cycles = whole_cycles(measured, accumulation)
    compiled: set[tuple[tuple[int, ...], bool, bool]] = set()
    compiles = []
    for cycle in cycles:
        kinds = {
            (tuple(batch[0].shape), place == 0, place == accumulation - 1)
            for place, batch in enumerate(cycle)
        }
        compiles.append(not kinds <= compiled)
        compiled |= kinds
    for cycle, is_new in zip(cycles, distributed.chosen_by_any(compiles), strict=True):
        if is_new:
            yield from cycle


def synthetic_rows(model: nn.Module, config: LoraConfig, seed: int) -> list[tuple[list[int], int]]:
    """Rows of random tokens, each max_seq_length long, as (tokens, prompt length)."""
    vocabulary = getattr(getattr(model, "args", None), "vocab_size", None) or embedding_rows(model)
    shape = (config.batch_size * _BATCHES_OF_SYNTHETIC_ROWS, config.max_seq_length)
    tokens = np.random.default_rng(seed).integers(0, vocabulary or _LEAST_VOCABULARY, shape)
    return [(row, 0) for row in tokens.tolist()]
