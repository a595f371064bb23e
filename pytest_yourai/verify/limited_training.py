"""Training as `yourai train` does it, under a limit that it would pass without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import COMPILE_TIMEOUT_S, SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.supervisor import TrainingRun
from pytest_yourai.verify.measuring import RECIPE
from pytest_yourai.worker.protocol import TrainedStep, TrainingEvent, TrainingParameters

STEPS = 12


class _Peaks:
    """A listener that keeps the peaks of steps."""

    def __init__(self) -> None:
        self.peaks_bytes: list[int] = []

    def begin(self, first_step: int) -> None:
        del self.peaks_bytes[first_step:]

    def add(self, event: TrainingEvent) -> None:
        if isinstance(event, TrainedStep):
            self.peaks_bytes.append(event.peak_memory_bytes)

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        pass

    def print_line(self, text: str) -> None:
        pass


def limit_for(minimum_bytes: int) -> int:
    """The least budget in which a sweep says that it fits."""
    return round(minimum_bytes * SAFETY_MARGIN)


def train_under(
    limit_bytes: int, source: ModelSource, config: LoraConfig, adapters: Path
) -> list[int]:
    """The peaks of all steps, in bytes; WorkerError where it ended before the last."""
    adapters.mkdir()
    peaks = _Peaks()
    with StopSignals() as signals:
        run = TrainingRun(_settings(limit_bytes, source, config, adapters), TaggedLog(), signals)
        try:
            ended = run.train(run.inspect(), peaks)
        finally:
            run.close()
    if ended.was_interrupted:
        raise KeyboardInterrupt
    if ended.problem is not None and not peaks.peaks_bytes:
        raise WorkerError(f"training ended: {ended.problem}")
    return peaks.peaks_bytes


def _settings(
    limit_bytes: int, source: ModelSource, config: LoraConfig, adapters: Path
) -> TrainSettings:
    about: Mapping[str, Any] = {}
    return TrainSettings(
        source=source,
        config=config,
        recipe=RECIPE,
        parameters=TrainingParameters(
            max_steps=STEPS, save_every=STEPS, steps_per_eval=STEPS, val_batches=0
        ),
        memory_limit_bytes=limit_bytes,
        data=None,
        adapter_path=adapters,
        memory_report_interval=STEPS,
        first_step=0,
        force=False,
        compile_timeout_s=COMPILE_TIMEOUT_S,
        baseline=None,
        about=about,
        used=(),
        warnings=(),
    )
