"""Trains in a worker process: reloads it, goes on after a crash, and passes its events on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

from pytest_yourai.core.errors import (
    CheckpointError,
    CompileOverdueError,
    GroupError,
    InputError,
    ModelError,
    RankDiedError,
    SafetyStopError,
    StopOverdueError,
    WorkerDiedError,
)
from pytest_yourai.core.hosts import rank_share
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.sanitize import without_secrets
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.core.units import GB
from pytest_yourai.machine.guard import Guard
from pytest_yourai.models.source import RowReading
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.store.journal import EventLog
from pytest_yourai.sweep.device_limits import limit_notes, over_a_limit
from pytest_yourai.sweep.start import budget_of, group_note
from pytest_yourai.training.checkpoint import read_checkpoint
from pytest_yourai.training.remedies import remedy
from pytest_yourai.training.run_folder import make_mark
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.start import (
    check_rows,
    check_validation,
    check_validation_shares,
)
from pytest_yourai.training.watch import ProgressListener, WorkerRecord
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.protocol import EndReason, TrainingEnd, TrainingRequest
from pytest_yourai.worker.supervised_run import BrokenOff, supervise

START_TIMEOUT_S = 600.0
"""For a worker to start, and to inspect model and data: tokenizing may take minutes."""

SILENCE_S = 30
"""Seconds without a sign of a rank that end training, which outlives what a trial does not."""

_ACTIVE_SHARE = 0.7
"""Share of the budget that MLX's arrays may take after a step without a fresh process."""

_FEWEST_STEPS = 10
"""A fresh process that needs another one sooner shows that none helps."""

_WHY_RELOADED: dict[EndReason, str] = {
    "interval": "as asked for",
    "active_memory": "MLX's arrays grew beyond 70 % of the limit",
    "footprint": "the footprint passed the limit",
}


@dataclass(frozen=True, slots=True)
class BestAdapters:
    """The step of the best adapters, and their loss on the validation set."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The end of a run, after `step` steps that are saved; `problem` is None where all are done."""

    step: int
    peak_memory_bytes: int | None
    problem: str | None
    was_interrupted: bool = False
    is_early: bool = False
    """True if it ended for lack of patience, which is no problem."""
    best: BestAdapters | None = None


class TrainingRun:
    """One run from its first step, or a checkpoint, to its end."""

    def __init__(self, settings: TrainSettings, journal: EventLog, signals: StopSignals) -> None:
        self._settings = settings
        self._journal = journal
        self._signals = signals
        self._host = WorkerHost(
            settings.source, journal, START_TIMEOUT_S, hosts=settings.hosts, silent_s=SILENCE_S
        )
        self._peak_bytes = 0
        self._watches_memory = True
        self._has_trained = False
        self._best: BestAdapters | None = None
        self._crashed_in: set[int] = set()

    def inspect(self, print_line: Callable[[str], None] = lambda _: None) -> SweepContext:
        """Inspect the device, the model and each row, and load nothing.

        InputError where it cannot run. `print_line` gets a line now and then while many are read.
        """
        settings, parameters = self._settings, self._settings.parameters
        reading = RowReading.of(
            settings.recipe, settings.config.max_seq_length, parameters.bad_rows
        )
        device, inspection = self._host.inspect(settings.data, reading, print_line, settings.wanted)
        if (data := inspection.data) is not None and data.notes:
            self._journal.write("data_notes", rows_left_out=data.left_out, notes=list(data.notes))
        depth, layers = inspection.num_hidden_layers, settings.config.num_layers
        if layers > depth:
            raise ModelError(
                f"--lora-layers {layers}: {settings.source.name} has {depth} layers: name at most "
                "so many"
            )
        rows = inspection.data.rows if inspection.data else None
        check_rows(rows, settings.config.batch_size, "--batch-size")
        validation_rows = inspection.data.validation_rows if inspection.data else 0
        check_validation(parameters, settings.data, validation_rows)
        if parameters.val_batches:
            check_validation_shares(settings.hosts, validation_rows)
        share = rank_share(settings.config, settings.ranks)
        found = over_a_limit(share, settings.source, inspection, device)
        if found is not None and not settings.force:
            raise ModelError(f"{found[0]}: {found[1]}")
        budget = budget_of(settings.memory_limit_bytes, self._host, device)
        notes = limit_notes([share], settings.source, inspection, device)
        return SweepContext(device, inspection, budget, tuple(notes))

    @property
    def ranks_note(self) -> str | None:
        """A line about the ranks, once they have been started; None for one process."""
        return group_note(self._host.group) if self._host.group is not None else None

    def train(self, where: SweepContext, progress: ProgressListener) -> TrainingOutcome:
        """Train on after the settings' first step, which a checkpoint has unless it is 0."""
        step = self._settings.first_step
        self._journal.write(
            "training_start",
            pid=os.getpid(),
            first_step=step,
            max_steps=self._settings.parameters.max_steps,
            memory_limit_gb=where.budget.limit_bytes / GB,
        )
        while True:
            guard = Guard(where.budget.limit_bytes, forced=self._settings.force)
            stop = self._host.stop_training
            limit_s = self._settings.compile_timeout_s
            record = WorkerRecord(guard, step, self._signals, progress, stop, limit_s)
            try:
                progress.begin(step)
                ended = self._train_in_process(where, record)
            except KeyboardInterrupt:
                self._settle(record)
                problem = f"it was interrupted {record.where}; {record.saved_part}"
                ended = self._ended(record, problem, was_interrupted=True)
            finally:
                self._host.end()
                self._settle(record)
            if ended is not None:
                self._journal.write("training_complete", step=ended.step, problem=ended.problem)
                return dataclasses.replace(ended, best=self._best)
            step = record.saved_step

    def _settle(self, record: WorkerRecord) -> None:
        """Take in what an ended process has done; it may have saved more than it could report."""
        with contextlib.suppress(CheckpointError):
            found = read_checkpoint(self._settings.adapter_path)
            if found is not None:
                record.saved_step = found.step
                if found.best_step is not None and found.best_loss is not None:
                    self._best = BestAdapters(found.best_step, found.best_loss)
        self._has_trained = self._has_trained or record.step > record.first_step
        self._peak_bytes = max(self._peak_bytes, record.peak_memory_bytes or 0)

    def close(self) -> None:
        self._host.end()

    def _train_in_process(
        self, where: SweepContext, record: WorkerRecord
    ) -> TrainingOutcome | None:
        """Train in one process; None where a fresh one is to go on."""
        request = self._request(where, record.first_step)
        end = supervise(self._host, request, TrainingEnd, record)
        if isinstance(end, BrokenOff):
            return self._broken_off(record, end)
        if end.reason in ("finished", "patience"):
            return self._ended(record, None, is_early=end.reason == "patience")
        if end.reason in ("stopped", "memory_limit"):
            why = record.stop_reason or record.over_the_limit()
            return self._ended(record, why, was_interrupted=self._signals.is_asked)
        self._reload(end, record)
        return None

    def _broken_off(self, record: WorkerRecord, end: BrokenOff) -> TrainingOutcome | None:
        has_begun = self._has_trained or record.step > record.first_step
        self._settle(record)
        match end.cause:
            case SafetyStopError() | CompileOverdueError():
                problem = end.diagnosis.reason
            case InputError() if not has_begun:
                raise end.cause
            case GroupError() | RankDiedError():
                problem = end.diagnosis.reason
            case StopOverdueError() | InputError():
                problem = str(end.cause)
            case _:
                return self._after_crash(record, end)
        interrupted = self._signals.is_asked
        problem = f"{problem}; {record.saved_part}{self._remedy(record, end)}"
        return self._ended(record, problem, was_interrupted=interrupted)

    def _remedy(self, record: WorkerRecord, end: BrokenOff) -> str:
        path = self._settings.adapter_path
        found = remedy(end, path, has_learned=record.has_learned)
        return f"; {found}" if found else ""

    def _request(self, where: SweepContext, first_step: int) -> TrainingRequest:
        settings, limit_bytes = self._settings, where.budget.limit_bytes
        mark = make_mark(settings.adapter_path) if settings.hosts is not None else None
        baseline, watches = settings.baseline, self._watches_memory
        return TrainingRequest(
            config=settings.config,
            recipe=settings.recipe,
            parameters=settings.parameters,
            memory_limit_bytes=limit_bytes,
            data=settings.data,
            adapter_path=str(settings.adapter_path),
            first_step=first_step,
            folder_mark=mark,
            reload_active_bytes=round(_ACTIVE_SHARE * limit_bytes) if watches else None,
            usual_active_bytes=baseline.active_memory_bytes if baseline else None,
            reload_footprint_bytes=limit_bytes if watches else None,
            may_pass_the_limit=settings.force,
            about=settings.about,
            report_config=without_secrets({each.name: each.value for each in settings.used}),
        )

    def _reload(self, end: TrainingEnd, record: WorkerRecord) -> None:
        why = _WHY_RELOADED[end.reason]
        self._journal.write("training_reload", step=end.step, reason=end.reason)
        record.progress.print_line(f"Reload after step {end.step}: {why}")
        if end.reason != "interval" and end.step - record.first_step < _FEWEST_STEPS:
            self._watches_memory = False
            record.progress.print_line(
                "A fresh process came to the same point at once, so that memory is needed, not "
                "lost: no more reloads for memory"
            )

    def _after_crash(self, record: WorkerRecord, end: BrokenOff) -> TrainingOutcome | None:
        """Go on once from what is saved; a second crash in the same step is the end."""
        outcome, reason = end.diagnosis.outcome, end.diagnosis.reason
        self._journal.write(
            "training_crash",
            step=record.step,
            outcome=outcome,
            reason=reason,
            **({"traceback": record.traceback} if record.traceback else {}),
        )
        again = record.step in self._crashed_in
        self._crashed_in.add(record.step)
        has_died = isinstance(end.cause, WorkerDiedError)
        if again or (outcome in (Outcome.ERROR, Outcome.INVALID_LOSS) and not has_died):
            what = f"{reason} a second time" if again else reason
            return self._ended(record, f"{what}; {record.saved_part}{self._remedy(record, end)}")
        record.progress.print_line(f"Reload after a crash: {reason}; {record.saved_part}")
        return None

    def _ended(
        self,
        record: WorkerRecord,
        problem: str | None,
        *,
        was_interrupted: bool = False,
        is_early: bool = False,
    ) -> TrainingOutcome:
        peak_bytes = max(self._peak_bytes, record.peak_memory_bytes or 0) or None
        return TrainingOutcome(record.saved_step, peak_bytes, problem, was_interrupted, is_early)
