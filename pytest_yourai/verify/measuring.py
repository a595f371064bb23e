"""What is run for the lines: trials, alone and beside mlx_lm.lora, and training under a limit."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_footprint import read_system_footprint
from pytest_yourai.models.folder import CONFIG
from pytest_yourai.models.made_rows import make_rows
from pytest_yourai.models.source import ModelSource, RowReading
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.sweep.trial_runner import TrialRecord
from pytest_yourai.verify.stock import StockRun, StockSteps
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import engine_command, worker_environment
from pytest_yourai.worker.protocol import Measurement, RunEvent, StepSample, TrialRequest
from pytest_yourai.worker.supervised_run import BrokenOff, supervise
from pytest_yourai.worker.turns import make_pipes

START_TIMEOUT_S = 300.0

_STEP_TIMEOUT_S = 120.0

_WARM_STEPS = 6
"""Steps of mlx_lm.lora before the turns: enough that both have compiled."""

_READINGS = 5

RECIPE = Recipe()

ReadSystem = Callable[..., int | None]
"""As `read_system_footprint`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that came to its end: its minimum, and each measured step. Bytes and seconds."""

    minimum_bytes: int
    step_times_s: list[float]
    peaks_bytes: list[int]


def new_host(source: ModelSource) -> WorkerHost:
    """A worker that is the caller's to end."""
    return WorkerHost(source, TaggedLog(), START_TIMEOUT_S)


def run_trial(host: WorkerHost, request: TrialRequest, record: TrialRecord) -> Trial:
    """WorkerError where the trial does not come to its end, or does not fit."""
    ended = supervise(host, request, Measurement, record)
    if isinstance(ended, BrokenOff):
        raise WorkerError(ended.diagnosis.reason or str(ended.cause))
    if record.minimum_bytes is None or not ended.fits:
        raise WorkerError("the trial needs more than the budget: close programs")
    measured = [each for each in record.samples if each.phase == "measure"]
    return Trial(
        record.minimum_bytes,
        [each.step_time_s for each in measured],
        [each.peak_memory_bytes for each in measured],
    )


class ReadingRecord(TrialRecord):
    """A record of a trial that compares what its guard sees with what the system says."""

    def __init__(
        self,
        config: LoraConfig,
        plan: StepPlan,
        guard: ReadingGuard,
    ) -> None:
        super().__init__("verify", config, plan, guard, step_timeout_s=_STEP_TIMEOUT_S)
        self._reading = guard

    def add(self, event: RunEvent) -> None:
        super().add(event)
        is_measured = isinstance(event, StepSample) and event.phase == "measure"
        if is_measured and len(self._reading.readings) < _READINGS:
            self._reading.read_both()


class ReadingGuard(Guard):
    """A guard that also asks the system, by another way, for what it watches itself.

    `readings` are pairs, of the guard and of the system. Of a process it is all that it holds, of
    a CUDA device what that has given away since the worker started: tools count the rest in ways
    of their own.
    """

    def __init__(
        self,
        budget_bytes: int,
        read_system: ReadSystem = read_system_footprint,
    ) -> None:
        super().__init__(budget_bytes, forced=False)
        self.readings: list[tuple[int, int]] = []
        self._read_other = read_system
        self._own_base = self._other_base = 0

    def attach(self, pid: int, base_bytes: int, *, has_own_memory: bool) -> None:
        super().attach(pid, base_bytes, has_own_memory=has_own_memory)
        self._own_base = base_bytes
        if has_own_memory:
            self._own_base = 0
            self._other_base = self._read_other(pid, has_own_memory=True) or 0

    def read_both(self) -> None:
        """Add a reading, where both are known."""
        if self._pid is None:
            return
        growth = self.read_footprint()
        other = self._read_other(self._pid, has_own_memory=self._has_own_memory)
        if growth is not None and other is not None and other > self._other_base:
            self.readings.append((growth + self._own_base, other - self._other_base))


class _BesideStock(TrialRecord):
    """A record that breaks the trial off where mlx_lm.lora has failed: nobody takes turns then."""

    def __init__(self, config: LoraConfig, plan: StepPlan, guard: Guard, stock: StockRun) -> None:
        super().__init__("verify", config, plan, guard, step_timeout_s=_STEP_TIMEOUT_S)
        self._stock = stock

    def check(self) -> None:
        super().check()
        self._stock.check()


def make_model_folder(folder: Path, architecture: Mapping[str, Any], row_tokens: int) -> None:
    """`model` and `data` in `folder`, as `mlx_lm.lora` takes them; WorkerError where that fails."""
    model = folder / "model"
    model.mkdir()
    (model / CONFIG).write_text(json.dumps(architecture), encoding="utf-8")
    make_rows(folder / "data", words=row_tokens - 2)
    made = subprocess.run(
        engine_command("worker.engine.model_folder", str(model)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
        env=worker_environment(os.environ),
    )
    if made.returncode:
        said = made.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise WorkerError(f"no model could be made: {screen_line(said[0])}")


def beside_stock(
    folder: Path,
    architecture: Mapping[str, Any],
    config: LoraConfig,
    pairs: int,
    guard: Guard,
) -> tuple[Trial, StockSteps]:
    """A trial and `mlx_lm.lora`, whose measured steps take turns: the `pairs` of both."""
    make_model_folder(folder, architecture, config.max_seq_length)
    make_pipes(folder)
    source = ModelSource(
        "model", architecture, str(folder / "model"), False, None, (config.lora_keys,)
    )
    recipe = {
        **RECIPE.as_mlx_lm(config),
        "model": str(folder / "model"),
        "train": True,
        "data": "data",
        "val_batches": 1,
    }
    plan = StepPlan(measured_steps=pairs + 1)
    request = TrialRequest(
        config,
        plan,
        guard.budget_bytes,
        str(folder / "data"),
        RECIPE,
        RowReading.of(RECIPE, config.max_seq_length, "refuse"),
        turns_folder=str(folder),
    )
    host = new_host(source)
    free = _WARM_STEPS + pairs
    with StockRun(folder, recipe, free_steps=free, steps_in_turn=pairs) as stock:
        try:
            record = _BesideStock(config, plan, guard, stock)
            trial = run_trial(host, request, record)
        finally:
            host.end()
        steps = stock.steps(_STEP_TIMEOUT_S)
    return (
        Trial(trial.minimum_bytes, trial.step_times_s[-pairs:], trial.peaks_bytes[-pairs:]),
        StockSteps(steps.step_times_s[-pairs:], steps.losses[-pairs:], steps.peaks_bytes[-pairs:]),
    )


def alone(host: WorkerHost, config: LoraConfig, steps: int, guard: Guard) -> Trial:
    """A trial of rows that are made up."""
    plan = StepPlan(measured_steps=steps)
    record: TrialRecord
    if isinstance(guard, ReadingGuard):
        record = ReadingRecord(config, plan, guard)
    else:
        record = TrialRecord("verify", config, plan, guard, step_timeout_s=_STEP_TIMEOUT_S)
    return run_trial(host, TrialRequest(config, plan, guard.budget_bytes, None, RECIPE), record)
