"""Trains in a worker process: reloads it, goes on after a crash, and keeps what it says."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import (
    CheckpointError,
    DataError,
    InputError,
    ModelError,
    SafetyStopError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
)
from pytest_yourai.core.results import Outcome
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.machine.budget import Budget, detect_budget, given_budget
from pytest_yourai.machine.guard import Guard
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.source import Inspection
from pytest_yourai.store.journal import EventLog
from pytest_yourai.training.checkpoint import read_checkpoint
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.watch import (
    ProgressListener,
    StopOverdueError,
    TrainingWatch,
    WorkerRecord,
    over_the_limit,
    since,
)
from pytest_yourai.worker.client import Output
from pytest_yourai.worker.diagnosis import Diagnosis, classify, gather
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.protocol import EndReason, TrainingEnd, TrainingRequest

START_TIMEOUT_S = 600.0
"""For a worker to say hello, and to look at model and data: tokenizing may take minutes."""

_ACTIVE_SHARE = 0.7
"""Of the memory limit: more than this in MLX's arrays after a step calls for a fresh process."""

_FEWEST_STEPS = 10
"""A fresh process that needs another one sooner shows that none helps."""

_WHY_RELOADED: dict[EndReason, str] = {
    "interval": "as asked for",
    "active_memory": "MLX's arrays grew beyond 70 % of the limit",
    "footprint": "the footprint passed the limit",
}


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a run ended, after `step` steps that are saved. `problem` is None where all are done."""

    step: int
    peak_memory_bytes: int | None
    problem: str | None
    was_interrupted: bool = False


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """Where training runs, what it found there, and how much memory it may take."""

    device: DeviceInfo
    inspection: Inspection
    budget: Budget


class TrainingRun:
    """One run from its first step, or a checkpoint, to its end."""

    def __init__(self, settings: TrainSettings, journal: EventLog, signals: StopSignals) -> None:
        self._settings = settings
        self._journal = journal
        self._signals = signals
        self._host = WorkerHost(settings.source, journal, START_TIMEOUT_S)
        self._peak_memory_bytes: int | None = None
        self._watches_memory = True
        self._has_trained = False
        self._crashed_in: set[int] = set()

    def look(self) -> TrainingContext:
        """Where it would run. An InputError where it cannot: nothing is loaded yet."""
        settings = self._settings
        device, inspection = self._host.look(settings.data)
        depth, layers = inspection.num_hidden_layers, settings.config.num_layers
        if layers > depth:
            raise ModelError(
                f"--lora-layers {layers}: {settings.source.name} has {depth} layers: name at most "
                "so many"
            )
        rows = inspection.data.rows if inspection.data else None
        if rows is not None and rows < settings.config.batch_size:
            raise DataError(
                f"--data: {settings.data} has {rows} rows, fewer than a batch of "
                f"{settings.config.batch_size}: add rows, or make --batch-size smaller"
            )
        system = read_system_memory()
        if settings.memory_limit_bytes is None:
            budget = detect_budget(system, device)
        else:
            budget = given_budget(settings.memory_limit_bytes, system, device)
        return TrainingContext(device, inspection, budget)

    def train(
        self, where: TrainingContext, first_step: int, progress: ProgressListener
    ) -> TrainingOutcome:
        """From after `first_step`, which a checkpoint has unless it is 0, until it ends."""
        self._journal.write(
            "training_start",
            pid=os.getpid(),
            first_step=first_step,
            max_steps=self._settings.parameters.max_steps,
            memory_limit_gb=where.budget.limit_bytes / 1e9,
        )
        step = first_step
        while True:
            turn = WorkerRecord(step, self._signals, progress)
            try:
                progress.begin(step)
                ended = self._turn(where, turn)
            except KeyboardInterrupt:
                ended = self._ended(turn, f"it was interrupted {turn.where}", was_interrupted=True)
            finally:
                self._end_worker(turn)
                self._has_trained = self._has_trained or turn.step > turn.first_step
            if ended is not None:
                self._journal.write("training_complete", step=ended.step, problem=ended.problem)
                return ended
            step = turn.saved_step

    def _end_worker(self, turn: WorkerRecord, because: str | None = None) -> Output:
        """End it, and see what it has saved: it may have been cut off before it could say so."""
        output = self._host.end(killed_because=because)
        with contextlib.suppress(CheckpointError):
            found = read_checkpoint(self._settings.adapter_path)
            turn.saved_step = found.step if found else turn.saved_step
        peaks = (self._peak_memory_bytes, turn.peak_memory_bytes)
        self._peak_memory_bytes = max((peak for peak in peaks if peak), default=None)
        return output

    def close(self) -> None:
        self._host.end()

    def _turn(self, where: TrainingContext, turn: WorkerRecord) -> TrainingOutcome | None:
        """One process; None where a fresh one is to go on."""
        limit_bytes = where.budget.limit_bytes
        guard = Guard(limit_bytes, read_system_memory(), forced=self._settings.force)
        watch = TrainingWatch(
            guard, self._signals, self._host.stop_training, lambda: turn.longest_step_s
        )
        try:
            end = self._host.train(self._request(where, turn.first_step), turn, watch)
        except (SafetyStopError, StopOverdueError, KeyboardInterrupt) as ending:
            self._end_worker(turn, repr(ending))
            return self._broken_off(turn, ending)
        except WorkerError as problem:
            return self._after_crash(where, turn, guard, problem)
        except InputError as problem:
            if turn.step == turn.first_step and not self._has_trained:
                raise
            self._end_worker(turn, str(problem))
            return self._ended(turn, f"{problem}; {since(turn)}")
        if end.reason == "finished":
            return self._ended(turn, None)
        if end.reason in ("stopped", "memory_limit"):
            why = watch.reason or over_the_limit(turn, limit_bytes)
            return self._ended(turn, why, was_interrupted=self._signals.is_asked)
        self._reload(end, turn)
        return None

    def _broken_off(self, turn: WorkerRecord, ending: BaseException) -> TrainingOutcome:
        match ending:
            case SafetyStopError():
                problem = f"the guard stopped it {turn.where}: {ending}"
            case StopOverdueError():
                problem = str(ending)
            case _:
                problem = f"it was interrupted {turn.where}"
        interrupted = self._signals.is_asked or isinstance(ending, KeyboardInterrupt)
        return self._ended(turn, f"{problem}; {since(turn)}", was_interrupted=interrupted)

    def _request(self, where: TrainingContext, first_step: int) -> TrainingRequest:
        settings, limit_bytes = self._settings, where.budget.limit_bytes
        baseline = settings.baseline
        watches = self._watches_memory
        return TrainingRequest(
            config=settings.config,
            parameters=settings.parameters,
            memory_limit_bytes=limit_bytes,
            data=settings.data,
            adapter_path=str(settings.adapter_path),
            resume=first_step > 0,
            reload_active_bytes=round(_ACTIVE_SHARE * limit_bytes) if watches else None,
            usual_active_bytes=baseline.active_memory_bytes if baseline else None,
            reload_footprint_bytes=limit_bytes if watches else None,
            may_pass_the_limit=settings.force,
            about=settings.about,
            report_config={each.name: each.value for each in settings.used},
        )

    def _reload(self, end: TrainingEnd, turn: WorkerRecord) -> None:
        why = _WHY_RELOADED[end.reason]
        self._journal.write("training_reload", step=end.step, reason=end.reason)
        turn.progress.say(f"Reload after step {end.step}: {why}")
        if end.reason != "interval" and end.step - turn.first_step < _FEWEST_STEPS:
            self._watches_memory = False
            turn.progress.say(
                "A fresh process came to the same point at once, so that memory is needed, not "
                "lost: no more reloads for memory"
            )

    def _after_crash(
        self, where: TrainingContext, turn: WorkerRecord, guard: Guard, problem: WorkerError
    ) -> TrainingOutcome | None:
        """Go on once from what is saved; a second crash in the same step is the end."""
        died = problem if isinstance(problem, WorkerDiedError) else None
        output = self._end_worker(turn, str(problem))
        diagnosis = self._diagnose(where, turn, guard, problem, output)
        outcome, reason = diagnosis.outcome, diagnosis.reason
        self._journal.write("training_crash", step=turn.step, outcome=outcome, reason=reason)
        again = turn.step in self._crashed_in
        self._crashed_in.add(turn.step)
        if outcome is Outcome.INVALID_LOSS:
            return self._ended(turn, f"{reason}; {since(turn)}; try a smaller --learning-rate")
        if again or (died is None and outcome is Outcome.ERROR):
            twice = " a second time" if again else ""
            return self._ended(turn, f"{reason}{twice}; {since(turn)}")
        turn.progress.say(f"Reload after a crash: {reason}; {since(turn)}")
        return None

    def _diagnose(
        self,
        where: TrainingContext,
        turn: WorkerRecord,
        guard: Guard,
        problem: WorkerError,
        output: Output,
    ) -> Diagnosis:
        guard.read_system()
        died = isinstance(problem, WorkerDiedError)
        is_of_a_loss = isinstance(problem, WorkerFailedError) and problem.loss_is_invalid
        return classify(
            gather(
                guard.trace,
                where=f"in step {turn.step}" if is_of_a_loss else turn.where,
                problem=None if died else problem,
                returncode=problem.returncode if isinstance(problem, WorkerDiedError) else None,
                stderr=output.stderr,
                backend=where.device.backend,
                memory_limit_bytes=where.budget.limit_bytes,
            )
        )

    def _ended(
        self, turn: WorkerRecord, problem: str | None, *, was_interrupted: bool = False
    ) -> TrainingOutcome:
        peaks = (self._peak_memory_bytes, turn.peak_memory_bytes)
        peak = max((each for each in peaks if each), default=None)
        return TrainingOutcome(turn.saved_step, peak, problem, was_interrupted)
