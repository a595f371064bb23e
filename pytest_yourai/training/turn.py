"""What one process of a training run did, and who hears of it."""

from __future__ import annotations

from typing import Protocol

from pytest_yourai.engine.protocol import Saved, TrainedStep, TrainingEvent
from pytest_yourai.training.stopping import StopSignals
from pytest_yourai.units import gigabytes


class Progress(Protocol):
    """Shows and keeps what training says."""

    def begin(self, first_step: int) -> None:
        """Training goes on after so many steps: later ones are said again."""
        ...

    def add(self, event: TrainingEvent) -> None: ...

    def say(self, text: str) -> None: ...


class Turn:
    """What one worker process did: hears it, and passes it on."""

    def __init__(self, first_step: int, signals: StopSignals, progress: Progress) -> None:
        self.first_step = self.step = self.saved_step = first_step
        self.peak_memory_bytes: int | None = None
        self.last: TrainedStep | None = None
        self.longest_step_s = 0.0
        self._signals = signals
        self.progress = progress
        self.where = "while starting the worker"
        signals.is_patient = False

    def loading(self) -> None:
        self.where = "while loading the model"

    def started(self) -> None:
        self.where = f"in step {self.first_step + 1}"
        self._signals.is_patient = True

    def add(self, event: TrainingEvent) -> None:
        match event:
            case TrainedStep():
                self.step, self.last = event.step, event
                self.longest_step_s = max(self.longest_step_s, event.step_time_s)
                self.where = f"in step {event.step + 1}"
                self.peak_memory_bytes = max(self.peak_memory_bytes or 0, event.peak_memory_bytes)
            case Saved():
                self.saved_step = event.step
        self.progress.add(event)


def over_the_limit(turn: Turn, limit_bytes: int) -> str:
    """Why a turn ended in which MLX held more than it may, in words."""
    held = turn.last.peak_memory_bytes if turn.last else 0
    return (
        f"MLX held {gigabytes(held)} in step {turn.step}, over the memory limit of "
        f"{gigabytes(limit_bytes)}: choose a smaller configuration, or add --force"
    )


def since(turn: Turn) -> str:
    """What is left of a turn that was cut off, in words."""
    if not turn.saved_step:
        return "nothing is saved yet"
    return f"what is saved is that of step {turn.saved_step}"
