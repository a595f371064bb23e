"""The scripted engine with faults that `yourai verify` must find, as YOURAI_TEST_PLANT names them.

minimum: a worker after the first needs 3 % more; prediction: each needs 15 % more than is
predicted; limit: training takes what it takes without a limit, which it obeys otherwise. Several
are separated by commas.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.worker.protocol import (
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
)

from support.scripted_engine import ScriptedEngine

VARIABLE = "YOURAI_TEST_PLANT"

DONE_VARIABLE = "YOURAI_TEST_PLANT_DONE"
"""The file that marks that a trial was run before."""


class PlantedEngine(ScriptedEngine):
    def __init__(self) -> None:
        super().__init__()
        self._plants = os.environ[VARIABLE].split(",")
        mark = Path(os.environ[DONE_VARIABLE])
        self._is_first = not mark.exists()
        mark.touch()

    def _minimum_bytes(self, config: LoraConfig) -> int:
        needed = super()._minimum_bytes(config) * (1.15 if "prediction" in self._plants else 1.0)
        return round(needed * (1.03 if "minimum" in self._plants and not self._is_first else 1.0))

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        most = max(self._minimum_bytes(request.config), request.memory_limit_bytes / SAFETY_MARGIN)

        def obeying(event: TrainingEvent) -> None:
            if isinstance(event, TrainedStep) and "limit" not in self._plants:
                peak = min(event.peak_memory_bytes, round(most))
                event = dataclasses.replace(event, peak_memory_bytes=peak)
            report(event)

        asked = dataclasses.replace(request, may_pass_the_limit="limit" not in self._plants)
        return super().train(asked, obeying, should_stop)
