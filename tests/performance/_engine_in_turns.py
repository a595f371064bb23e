"""MLX's engine, whose measured steps take turns with those of another process.

YOURAI_TEST_ENGINE=_engine_in_turns:EngineInTurns, with this folder on PYTHONPATH, and the folder of
the pipes in TURNS_FOLDER.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import Measurement, TrialEvent, TrialRequest

FOLDER = "TURNS_FOLDER"


class EngineInTurns(MlxEngine):
    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        asked = dataclasses.replace(request, turns_folder=os.environ[FOLDER])
        return super().run_trial(asked, report)
