"""What the guard costs: step times of `tiny` with and without it, interleaved.

python tests/performance/guard.py [--rounds 10] [--steps 20]

Two workers hold the same model, of which one is watched. Each round measures every configuration
with both, in alternating order. The last line is the cost of a look, in parts of a core.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.machine.guard import INTERVAL_S, Guard
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.protocol import Measurement, RunEvent, StepSample, TrialRequest
from pytest_yourai.worker.run_record import RunRecord

from _common import table, verdict

ALLOWED = 0.02
BUDGET_BYTES = 4_000_000_000


class NoGuard(Guard):
    """Never looks."""

    def due_in_s(self) -> float:
        return math.inf


class StepTimes(RunRecord):
    """Takes in the measured steps of one trial."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        self.seconds: list[float] = []

    def add(self, event: RunEvent) -> None:
        super().add(event)
        if isinstance(event, StepSample) and event.phase == "measure":
            self.seconds.append(event.step_time_s)


def measure(host: WorkerHost, config: LoraConfig, steps: int, guard: Guard) -> list[float]:
    heard = StepTimes(guard)
    plan = StepPlan(measured_steps=steps)
    host.run(TrialRequest(config, plan, BUDGET_BYTES, None), Measurement, heard)
    return heard.seconds


def cost_of_a_look(looks: int = 400) -> float:
    guard = Guard(BUDGET_BYTES, forced=False)
    start = time.process_time()
    for _ in range(looks):
        guard.check()
    return (time.process_time() - start) / looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    model = resolve("tiny", Path("tiny"), "auto", read_presets(packaged_models()))
    source = ModelSource("tiny", model.architecture, None, True, None, ("qkvo",))
    watched = WorkerHost(source, TaggedLog(), 120)
    alone = WorkerHost(source, TaggedLog(), 120)
    configs = [LoraConfig(batch, 8, 4, 64) for batch in (1, 4, 16)]
    times: dict[tuple[LoraConfig, bool], list[float]] = {}
    for number in range(arguments.rounds):
        for config in configs:
            for is_watched in (True, False) if number % 2 else (False, True):
                host = watched if is_watched else alone
                guard = (Guard if is_watched else NoGuard)(BUDGET_BYTES, forced=False)
                found = measure(host, config, arguments.steps, guard)
                times.setdefault((config, is_watched), []).extend(found)
    rows = []
    for config in configs:
        with_it, without = (statistics.median(times[config, each]) for each in (True, False))
        ratio = with_it / without
        rows.append(
            [str(config), f"{with_it * 1e3:.3f}", f"{without * 1e3:.3f}", f"{ratio:.4f}"]
            + [verdict(ratio <= 1 + ALLOWED)]
        )
    table(["configuration", "with ms", "without ms", "ratio", f"within {ALLOWED:.0%}"], rows)
    share = cost_of_a_look() / INTERVAL_S
    print(f"a look takes {share:.2%} of a core: {verdict(share < 0.01)}")
    watched.end()
    alone.end()


if __name__ == "__main__":
    main()
