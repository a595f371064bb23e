"""Training runs of a small model that the tests make, and the events they reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.checkpoint import LOG
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.supervisor import TrainingOutcome, TrainingRun
from pytest_yourai.worker.protocol import Saved, TrainedStep, TrainingEvent, TrainingParameters

from support.models import TINY, make_data, make_model
from support.training import changed


def make_input(folder: Path) -> Path:
    """A folder with `model` and `data`."""
    make_model(folder / "model", {**TINY, "num_hidden_layers": 2})
    make_data(folder / "data", rows=11, words=20)
    return folder


def settings(folder: Path, adapters: str, **changes: Any) -> TrainSettings:
    """Of a run of 12 steps of 20 ms."""
    path = folder / adapters
    path.mkdir(exist_ok=True)
    model = resolve("model", folder / "model", "local", {})
    usual = TrainSettings(
        source=ModelSource("model", model.architecture, str(model.folder), False, None, ("qkvo",)),
        config=LoraConfig(2, 4, 2, 32),
        recipe=Recipe(learning_rate=1e-3, seed=3),
        parameters=TrainingParameters(
            max_steps=12,
            save_every=5,
            steps_per_eval=100,
            val_batches=2,
        ),
        memory_limit_bytes=10**9,
        data=str(folder / "data"),
        adapter_path=path,
        memory_report_interval=10,
        first_step=0,
        force=False,
        compile_timeout_s=900.0,
        baseline=None,
        about={},
        used=(),
        warnings=(),
    )
    return changed(usual, **changes)


class Heard:
    """The events of a run; `on_begin` and `on_step` may do something when they come."""

    def __init__(
        self,
        on_step: Callable[[int], None] = lambda _: None,
        on_begin: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.losses: dict[int, float] = {}
        self.begun: list[int] = []
        self.saved: list[int] = []
        self.said: list[str] = []
        self.compiled: list[tuple[float, float]] = []
        self._on_step = on_step
        self._on_begin = on_begin

    def begin(self, first_step: int) -> None:
        self.begun.append(first_step)
        self._on_begin(first_step)
        self.losses = {step: loss for step, loss in self.losses.items() if step <= first_step}

    def add(self, event: TrainingEvent) -> None:
        match event:
            case TrainedStep():
                self.losses[event.step] = event.loss
                self._on_step(event.step)
            case Saved():
                self.saved.append(event.step)

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        self.compiled.append((elapsed_s, limit_s))

    def print_line(self, text: str) -> None:
        self.said.append(text)


def run(asked: TrainSettings, heard: Heard) -> TrainingOutcome:
    journal = Journal(asked.adapter_path / LOG)
    with StopSignals() as signals:
        training = TrainingRun(asked, journal, signals)
        try:
            return training.train(training.inspect(), heard)
        finally:
            training.close()
            journal.close()
