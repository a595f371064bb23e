"""Runs `yourai train` with its settings, and writes its outputs."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import write_atomically
from pytest_yourai.core.opening import read_own
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.core.units import format_change, gigabytes, machine_memory
from pytest_yourai.machine.environment import keep_awake
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.conversion import conversion
from pytest_yourai.models.mlx_lm_command import mlx_lm_command, output_path
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.report.safe_stream import print_lines
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.checkpoint import REPORT_ID
from pytest_yourai.training.display import TrainingDisplay
from pytest_yourai.training.memory_trend import MemoryTrend
from pytest_yourai.training.metrics_file import METRICS_NAME, MetricsFile
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.supervisor import TrainingOutcome, TrainingRun
from pytest_yourai.worker.checkpoint_file import BEST_FOLDER
from pytest_yourai.worker.protocol import (
    Saved,
    Saving,
    SkippedBatch,
    TrainedStep,
    TrainingEvent,
    Validated,
)

_FAILED_STATUS = 1

_INTERRUPTED_STATUS = 130


class Outputs:
    """Writes the events of training to the screen, to metrics.jsonl and to the journal."""

    def __init__(
        self,
        settings: TrainSettings,
        display: TrainingDisplay,
        journal: Journal,
        *,
        footprint_counts: bool,
    ) -> None:
        self._settings = settings
        self._display = display
        self._journal = journal
        self._footprint_counts = footprint_counts
        self._trend = self._new_trend()
        self._metrics: MetricsFile | None = None

    def begin(self, first_step: int) -> None:
        """Start from `first_step`: rows of later steps are dropped, as these are trained again."""
        self.close()
        path = self._settings.adapter_path / METRICS_NAME
        self._metrics = MetricsFile(path, first_step)
        self._trend = self._new_trend()

    def _new_trend(self) -> MemoryTrend:
        return MemoryTrend(
            footprint_counts=self._footprint_counts,
            accumulation=self._settings.config.grad_accumulation_steps,
        )

    def add(self, event: TrainingEvent) -> None:
        match event:
            case TrainedStep():
                self._step(event)
            case SkippedBatch():
                self._skipped(event)
            case Validated():
                self._display.validated(event)
                if self._metrics is not None:
                    self._metrics.validated(event)
            case Saving():
                # The rows of these steps must outlive a crash of the machine if a checkpoint does.
                if self._metrics is not None:
                    self._metrics.sync()
            case Saved():
                self._display.saved(event)
                self._journal.write("training_saved", step=event.step)

    def _skipped(self, skipped: SkippedBatch) -> None:
        self._display.skipped(skipped, self._settings.parameters.max_skipped_batches)
        if self._metrics is not None:
            self._metrics.skipped(skipped)
        self._journal.write("training_skipped_batch", step=skipped.step, loss=str(skipped.loss))

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        self._display.compiling(elapsed_s, limit_s)

    def print_line(self, text: str) -> None:
        self._display.print_line(text)

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            if self._metrics.problem is not None:
                self.print_line(f"Warning: {self._metrics.problem}")
        self._metrics = None

    def _step(self, step: TrainedStep) -> None:
        warning = self._trend.warning(step)
        interval = self._settings.memory_report_interval
        growth = self._trend.growth if step.step % interval == 0 else None
        if self._metrics is not None:
            self._metrics.step(step, growth)
        if growth is not None:
            self._journal.write(
                "memory_report",
                step=step.step,
                active_memory_bytes=step.active_memory_bytes,
                peak_memory_bytes=step.peak_memory_bytes,
                cache_memory_bytes=step.cache_memory_bytes,
                footprint_bytes=step.footprint_bytes,
                active_growth_bytes_per_step=growth.active_bytes_per_step,
                footprint_growth_bytes_per_step=growth.footprint_bytes_per_step,
            )
        self._display.step(step, self._trend)
        if warning is not None:
            self._display.print_line(f"Warning: {warning}")
            self._journal.write("warning", step=step.step, text=warning)


def run_training(settings: TrainSettings, journal: Journal, stream: IO[str] | None = None) -> int:
    """Train with `settings`, with progress on `stream` (stdout); the exit status.

    `journal` is the one in the adapter path, locked since before `settings` were made.

    0 if all steps are done, 1 if it ended before, 130 if the user ended it. InputError if it cannot
    begin: then nothing was trained.
    """
    stream = stream or sys.stdout
    if settings.parameters.report_to is not None:
        is_new = settings.first_step == 0
        os.environ.update(one_report(settings.adapter_path, os.environ, is_new=is_new))
    if journal.note is not None:
        print_lines(stream, f"Warning: {journal.note}")
    awake = keep_awake()
    try:
        with StopSignals() as signals:
            run = TrainingRun(settings, journal, signals)
            try:
                ended = _train(settings, run, journal, stream)
            except KeyboardInterrupt:
                print_lines(stream, "Interrupted before the first step")
                return _INTERRUPTED_STATUS
            finally:
                run.close()
    finally:
        if awake is not None:
            awake.terminate()
            awake.wait()
    print_lines(stream, *_closing(settings, ended))
    if journal.problem is not None:
        print_lines(stream, f"Warning: the log is incomplete: {journal.problem}")
    if ended.problem is None:
        return 0
    return _INTERRUPTED_STATUS if ended.was_interrupted else _FAILED_STATUS


def _train(
    settings: TrainSettings, run: TrainingRun, journal: Journal, stream: IO[str]
) -> TrainingOutcome:
    found = run.inspect(lambda line: print_lines(stream, line))
    print_lines(stream, *_header(found, run.ranks_note))
    display = TrainingDisplay(
        settings.parameters.max_steps,
        settings.first_step + 1,
        found.budget.limit_bytes,
        settings.memory_report_interval,
        stream,
        settings.config.grad_accumulation_steps,
    )
    counts = not found.device.has_own_memory
    outputs = Outputs(settings, display, journal, footprint_counts=counts)
    with contextlib.closing(outputs), display:
        return run.train(found, outputs)


def _header(found: SweepContext, ranks_note: str | None) -> Iterator[str]:
    device = found.device
    machine = machine_memory(read_system_memory().total_bytes)
    yield f"Device: {device.name} ({device.backend}), MLX {device.mlx_version}, memory: {machine}"
    if ranks_note is not None:
        yield f"Ranks: {ranks_note}"
    # Where one was given, the table of settings says by what.
    budget = found.budget
    yield f"Budget: {budget if budget.is_detected else gigabytes(budget.limit_bytes)}"
    yield from (f"Note: {note}" for note in found.inspection.notes)
    yield from (f"Warning: {note}" for note in found.notes)
    if found.inspection.data is not None:
        yield f"Training data: {found.inspection.data.rows:,} rows"
        yield from (f"Note: {note}" for note in found.inspection.data.notes)
    yield "The first steps compile: minutes on a cold machine"
    yield ""


def _closing(settings: TrainSettings, ended: TrainingOutcome) -> Iterator[str]:
    folder = settings.adapter_path
    if ended.problem is not None:
        yield f"Stopped: {ended.problem}"
    if ended.is_early and ended.best is not None:
        yield (
            f"Ended early: {settings.parameters.patience} validations in a row were not below the "
            f"loss of {ended.best.loss:.3f} after step {ended.best.step}"
        )
    if ended.peak_memory_bytes is not None:
        yield f"Peak memory: {_peak(settings, ended.peak_memory_bytes)}"
    if not ended.step:
        yield "Nothing is saved"
        return
    keep, best = settings.parameters.keep, ended.best
    if keep != "best":
        yield f"Adapters of step {ended.step}: {folder}"
    if keep == "both" and best is not None:
        folder = folder / BEST_FOLDER
    if keep != "last" and best is not None:
        yield f"Best adapters, of step {best.step} with validation loss {best.loss:.3f}: {folder}"
    if keep == "best" and best is None:
        yield "No adapters are there yet: no validation came after a step"
    if ended.problem is not None:
        yield "To continue: the same command with --resume"
    if not settings.source.synthetic and (keep != "best" or best is not None):
        yield from _next_commands(settings, str(folder))


def _next_commands(settings: TrainSettings, folder: str) -> Iterator[str]:
    """The commands of mlx-lm that use the adapters in `folder`."""
    source = settings.source
    model = source.folder or source.name
    trust_remote_code = source.trust_remote_code
    if quantization := source.quantized_on_load:
        converted = conversion(
            model, source.name, quantization, trust_remote_code=trust_remote_code
        )
        yield (
            f"The weights were quantized to {quantization} on load, which mlx_lm does not do: "
            f"convert them once with {converted.command}"
        )
        model = converted.folder
    trust = ["--trust-remote-code"] if trust_remote_code else []
    arguments = ["--model", model, "--adapter-path", folder, *trust]
    tried = mlx_lm_command("mlx_lm.generate", *arguments, "--prompt", "Hello")
    yield f"Try them: {tried}"
    fused = mlx_lm_command("mlx_lm.fuse", *arguments, "--save-path", output_path("fused", model))
    yield f"Or put them into the model: {fused}"


def _peak(settings: TrainSettings, peak_bytes: int) -> str:
    if settings.baseline is None:
        return gigabytes(peak_bytes)
    trial_bytes = settings.baseline.peak_memory_bytes
    change = format_change(peak_bytes / trial_bytes - 1)
    return f"{gigabytes(peak_bytes)}; the trial took {gigabytes(trial_bytes)} ({change})"


_ID_CHARACTERS = 21
"""The most that swanlab accepts."""


def one_report(folder: Path, environment: Mapping[str, str], *, is_new: bool) -> dict[str, str]:
    """Environment variables that let wandb and swanlab continue one run after each restart.

    The id of the run is kept in `folder` for a resume. Variables in `environment` stay.
    """
    path = folder / REPORT_ID
    if is_new or not os.path.lexists(path):
        write_atomically(path, uuid.uuid4().hex[:_ID_CHARACTERS], "--adapter-path")
    try:
        run_id = read_own(path).decode("ascii").strip()
    except (OSError, ValueError) as problem:
        raise OutputError(
            f"--adapter-path: {path} cannot be read: {problem}; remove it, for a new report"
        ) from None
    wanted = {
        f"{service}_{name}": value
        for service in ("WANDB", "SWANLAB")
        for name, value in (("RUN_ID", run_id), ("RESUME", "allow"))
    }
    return {name: value for name, value in wanted.items() if name not in environment}
