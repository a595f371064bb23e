"""MLX's engine with the faults of tests/attacks/verify_faults.py."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import mlx_lm.tuner.trainer as mlx_lm_trainer

from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import (
    Measurement,
    StepSample,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    TrialEvent,
    TrialRequest,
)

_PEAK_SHARE = 1.03


class MisledEngine(MlxEngine):
    def __init__(self) -> None:
        super().__init__()
        mark = Path(os.environ["YOURAI_TEST_MARK"])
        self._is_second = mark.exists()
        mark.touch()

    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        usual, sleep_s = mlx_lm_trainer._clear_cache, float(os.environ["YOURAI_TEST_SLEEP_S"])

        def slowly(threshold: int) -> None:
            usual(threshold)
            time.sleep(sleep_s)

        def misreport(event: TrialEvent) -> None:
            if isinstance(event, StepSample) and (event.phase == "measure" or self._is_second):
                peak = round(event.peak_memory_bytes * _PEAK_SHARE)
                event = dataclasses.replace(event, peak_memory_bytes=peak)
            report(event)

        mlx_lm_trainer._clear_cache = slowly
        try:
            return super().run_trial(request, misreport)
        finally:
            mlx_lm_trainer._clear_cache = usual

    def train(
        self,
        request: TrainingRequest,
        report: Callable[[TrainingEvent], None],
        should_stop: Callable[[], bool],
    ) -> TrainingEnd:
        unlimited = dataclasses.replace(request, memory_limit_bytes=1 << 40)
        return super().train(unlimited, report, should_stop)
