"""An engine without MLX, for tests of what is around the engine: it starts in a fraction of the
time, and its answers come over the real wire from a real worker process.

Memory is what the estimate says on a CPU; each step sleeps for as long as a small formula says, or
YOURAI_TEST_STEP_S. Faults are those of `worker_faults`. It reads no data, and training, which is
a soak's, writes no files. As a rank it needs what its share of a batch needs, and sends the others
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, key_names
from pytest_yourai.core.cycles import TrialSteps
from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.estimate import estimate_training_memory
from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.models.architecture import Architecture, InspectedShapes
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.source import Inspection, ModelSource, RowReading, Wanted
from pytest_yourai.worker.joining import AllSum, Joined, JoinRequest
from pytest_yourai.worker.protocol import (
    Compiling,
    EndReason,
    Measurement,
    Phase,
    RowsRead,
    Saved,
    Saving,
    StepSample,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialEvent,
    TrialRequest,
)

from support.worker_faults import read_fault

STEP_VARIABLE = "YOURAI_TEST_STEP_S"

SLOW_VARIABLE = "YOURAI_TEST_SLOW_TRIALS"
"""How many trials, from a worker's first, have steps that take twice as long."""

COMPILE_VARIABLE = "YOURAI_TEST_COMPILE_S"
"""Seconds that each of the two compilations takes beside its step, where the batch size is 2."""

_COMPILING_STEPS = 2

_LEAK_BYTES = 60_000_000
"""A step, as the fault `leak` of the real engine."""

_PEAK_OVER_MINIMUM = 1.2

_PEAK_WITHIN_A_CYCLE = 0.97
"""Of steps that only accumulate gradients, over that of the update."""

_SLOWER_UPDATE = 1.5

_BYTES_PER_S = 1e8
"""Of what ranks would sum."""


class ScriptedEngine:
    """Holds the name of a model, and reports what the estimate gives for it."""

    def __init__(self) -> None:
        self._fault = read_fault()
        self._source: ModelSource | None = None
        self._base_bytes = self._peak_bytes = 0
        self._leaked_bytes = 0
        self._slow_trials = int(os.environ.get(SLOW_VARIABLE, "0"))
        self._is_slow = False
        self._world_size = 1

    def device(self) -> DeviceInfo:
        mlx, mlx_lm = map(_version, ("mlx", "mlx_lm"))
        return DeviceInfo("cpu", "scripted", None, None, mlx, mlx_lm)

    def inspect(
        self,
        source: ModelSource,
        data: str | None,
        _reading: RowReading,
        _report: Callable[[RowsRead], None],
        _wanted: Wanted | None,
    ) -> Inspection:
        self._strike("inspect")
        if data is not None:
            raise DataError(f"{data}: the scripted engine reads no data")
        shapes = read_architecture_shapes(source.architecture)
        adapted = {choice: shapes.adapted(key_names(choice)) for choice in source.lora_keys}
        weight_bytes = shapes.weight_bytes(*_quantization(source))
        return Inspection(
            num_hidden_layers=shapes.num_hidden_layers,
            parameters=shapes.parameters,
            lora_keys={
                choice: tuple(linear.key for linear in linears)
                for choice, linears in adapted.items()
            },
            sizes={
                choice: InspectedShapes(
                    weight_bytes,
                    linears,
                    (sum(linear.parameters_per_rank for linear in linears),)
                    * shapes.num_hidden_layers,
                )
                for choice, linears in adapted.items()
            },
        )

    def load(self, source: ModelSource) -> int:
        self._strike("load")
        self._source = source
        self._base_bytes = self._shapes().weight_bytes(*_quantization(source))
        self._peak_bytes = self._base_bytes
        return self._base_bytes

    def join(self, request: JoinRequest) -> Joined:
        self._strike("join")
        hosts = json.loads(Path(os.environ["MLX_HOSTFILE"]).read_text())
        self._world_size = len(hosts)
        sums = AllSum(request.all_sum_bytes / _BYTES_PER_S, request.all_sum_bytes)
        return Joined(int(os.environ["MLX_RANK"]), self._world_size, sums)

    def memory(self) -> MlxMemory:
        return MlxMemory(self._active_bytes, self._peak_bytes, 0)

    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        config, steps = request.config, TrialSteps.of(request.plan, request.config)
        self._is_slow, self._slow_trials = self._slow_trials > 0, self._slow_trials - 1
        share = dataclasses.replace(config, batch_size=config.batch_size // self._world_size)
        minimum = self._minimum_bytes(share)
        fits = minimum * SAFETY_MARGIN <= request.memory_limit_bytes
        warmup_times_s: list[float] = []
        while not steps.warmup_is_over(warmup_times_s):
            slower = 1.0
            if len(warmup_times_s) < steps.compiling_steps:
                report(Compiling())
                self._strike("compile", config)
                self._compile(config)
                slower = 3.0
            ends = steps.ends_cycle(len(warmup_times_s) + 1)
            peak = round(minimum * (1.0 if ends else _PEAK_WITHIN_A_CYCLE))
            sample = self._step("warmup", config, peak, slower, updates=ends)
            warmup_times_s.append(sample.step_time_s)
            report(sample)
            self._strike("warmup", config)
        if fits:
            limit = request.memory_limit_bytes / SAFETY_MARGIN
            peak = round(max(minimum, min(_PEAK_OVER_MINIMUM * minimum, limit)))
            for number in range(1, steps.accumulation + 1):
                report(self._step("settle", config, peak, updates=steps.ends_cycle(number)))
            for number in range(1, steps.measured_steps + 1):
                report(self._step("measure", config, peak, updates=steps.ends_cycle(number)))
                self._strike("measure", config)
        self._strike("end", config)
        leaked, self._leaked_bytes, self._peak_bytes = self._leaked_bytes, 0, self._base_bytes
        return Measurement(fits=fits, memory_is_back_at_base=not leaked)

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        config = request.config
        peak = round(_PEAK_OVER_MINIMUM * self._minimum_bytes(config))
        step, reason = 0, None
        while reason is None:
            step += 1
            if step <= _COMPILING_STEPS:
                report(Compiling())
                self._compile(config)
            updates = step % config.grad_accumulation_steps == 0
            sample = self._step("measure", config, peak, updates=updates)
            report(
                TrainedStep(
                    step=step,
                    loss=sample.loss,
                    learning_rate=request.recipe.learning_rate,
                    step_time_s=sample.step_time_s,
                    tokens=sample.tokens,
                    peak_memory_bytes=sample.peak_memory_bytes,
                    active_memory_bytes=sample.active_memory_bytes,
                    cache_memory_bytes=0,
                    footprint_bytes=sample.footprint_bytes,
                )
            )
            reason = self._reason_to_end(request, step, should_stop)
            if reason is None and self._fault and self._fault.is_in_training(step):
                self._suffer()
        report(Saving(step))
        report(Saved(step))
        return TrainingEnd(step, reason)

    def _compile(self, config: LoraConfig) -> None:
        if config.batch_size == 2:
            time.sleep(float(os.environ.get(COMPILE_VARIABLE, "0")))

    def _reason_to_end(
        self, request: TrainingRequest, step: int, should_stop: Callable[[], bool]
    ) -> EndReason | None:
        if step == request.parameters.max_steps:
            return "finished"
        if should_stop():
            return "stopped"
        is_over = self._peak_bytes > request.memory_limit_bytes
        return "memory_limit" if is_over and not request.may_pass_the_limit else None

    def _step(
        self,
        phase: Phase,
        config: LoraConfig,
        peak: int,
        slower: float = 1.0,
        *,
        updates: bool = True,
    ) -> StepSample:
        """Where gradients are accumulated, the step that updates takes longer than the others."""
        if updates and config.grad_accumulation_steps > 1:
            slower *= _SLOWER_UPDATE
        step_time_s = slower * _step_time_s(config) * (2 if self._is_slow else 1)
        self._peak_bytes = peak + self._leaked_bytes
        time.sleep(step_time_s)
        process = read_process_memory(os.getpid())
        return StepSample(
            phase=phase,
            loss=5.5,
            step_time_s=step_time_s,
            peak_memory_bytes=self._peak_bytes,
            active_memory_bytes=self._active_bytes,
            cache_memory_bytes=0,
            footprint_bytes=process.footprint_bytes if process else None,
            tokens=config.batch_size * (config.max_seq_length - 1),
        )

    @property
    def _active_bytes(self) -> int:
        return self._base_bytes + self._leaked_bytes

    def _minimum_bytes(self, config: LoraConfig) -> int:
        source = self._loaded
        bits, group_size = _quantization(source)
        return estimate_training_memory(
            source.architecture,
            batch_size=config.batch_size,
            lora_rank=max(config.rank, 1),
            lora_layers=config.num_layers,
            seq_length=config.max_seq_length,
            quantization_bits=bits,
            group_size=group_size,
            lora_keys=key_names(config.lora_keys),
            grad_checkpoint=config.grad_checkpoint,
            optimizer=config.optimizer,
            grad_accumulation_steps=config.grad_accumulation_steps,
            backend="cpu",
        ).minimum_bytes

    @property
    def _loaded(self) -> ModelSource:
        if self._source is None:
            raise ModelError("no model is loaded")
        return self._source

    def _shapes(self) -> Architecture:
        return read_architecture_shapes(self._loaded.architecture)

    def _strike(self, site: str, config: LoraConfig | None = None) -> None:
        fault = self._fault
        if fault is None or fault.site != site:
            return
        if config is None or fault.is_in_trial(site, config.batch_size):
            self._suffer()

    def _suffer(self) -> None:
        if self._fault and self._fault.kind == "leak":
            self._leaked_bytes += _LEAK_BYTES
        elif self._fault:
            self._fault.strike()


def _step_time_s(config: LoraConfig) -> float:
    """Longer with every axis, and shorter for a token of a larger batch."""
    fixed = os.environ.get(STEP_VARIABLE)
    if fixed is not None:
        return float(fixed)
    positions = config.batch_size * (config.max_seq_length - 1)
    again = 1.3 if config.grad_checkpoint else 1.0
    return 0.002 + 2e-5 * positions * config.num_layers * (1 + config.rank / 256) * again


def _version(distribution: str) -> str:
    """As importlib.metadata.version, which takes long to import."""
    found = (Path(entry).glob(f"{distribution}-*.dist-info") for entry in sys.path)
    return next(each.stem.partition("-")[2] for folder in found for each in folder)


def _quantization(source: ModelSource) -> tuple[int | None, int]:
    """Bits, and the group size."""
    stored: dict[str, Any] = source.architecture.get("quantization") or {}
    if stored:
        return stored["bits"], stored["group_size"]
    chosen = source.quantization
    return (chosen.bits, chosen.group_size) if chosen else (None, 64)
