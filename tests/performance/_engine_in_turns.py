"""MLX's engine, whose measured steps take turns with those of another process.

YOURAI_TEST_ENGINE=_engine_in_turns:EngineInTurns, with this folder on PYTHONPATH. The turns begin
after the first measured cycle.
"""

from __future__ import annotations

from collections.abc import Callable

from _turns import Turns
from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import Measurement, StepSample, TrialEvent, TrialRequest


class EngineInTurns(MlxEngine):
    def run_trial(self, request: TrialRequest, report: Callable[[TrialEvent], None]) -> Measurement:
        turns = Turns("ours")
        measured = 0

        def in_turns(event: TrialEvent) -> None:
            nonlocal measured
            report(event)
            if isinstance(event, StepSample) and event.phase == "measure":
                measured += 1
                if turns.have_met:
                    turns.give()
                elif measured == request.config.grad_accumulation_steps:
                    turns.meet()

        try:
            return super().run_trial(request, in_turns)
        finally:
            turns.end()
