"""What the guard costs: step times of `tiny` with and without it, interleaved.

python tests/performance/guard.py [--rounds 10] [--steps 20]

Two workers hold the same model. One is watched and says what MLX holds, the other is not and does
not. Each round measures every configuration with both, in alternating order. The last line is the
cost of a look, in parts of a core.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

from pytest_yourai.core.config import SEED, LoraConfig, StepPlan
from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.machine.guard import INTERVAL_S, Guard
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.worker.client import Watch
from pytest_yourai.worker.host import WorkerHost
from pytest_yourai.worker.process import WorkerStarter
from pytest_yourai.worker.protocol import StepSample, TrialRequest

from _common import table, verdict

ALLOWED = 0.02
BUDGET_BYTES = 4_000_000_000


class NoGuard:
    """Never looks."""

    def attach(self, pid: int, base_bytes: int, *, has_own_memory: bool) -> None: ...

    def note(self, memory: MlxMemory) -> None: ...

    def due_in_s(self) -> float:
        return math.inf

    def check(self) -> None: ...


class StepTimes:
    """Hears the measured steps of one trial."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def loading(self) -> None: ...

    def started(self) -> None: ...

    def add(self, sample: StepSample) -> None:
        if sample.phase == "measure":
            self.seconds.append(sample.step_time_s)


def new_guard() -> Guard:
    return Guard(BUDGET_BYTES, read_system_memory(), forced=False)


def measure(host: WorkerHost, config: LoraConfig, steps: int, watch: Watch) -> list[float]:
    heard = StepTimes()
    plan = StepPlan(measured_steps=steps)
    host.run(TrialRequest(config, plan, BUDGET_BYTES, None, SEED), heard, watch)
    return heard.seconds


def cost_of_a_look(looks: int = 400) -> float:
    guard = new_guard()
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
    source = ModelSource("tiny", model.architecture, None, True, None, None)
    watched = WorkerHost(source, TaggedLog(), 120)
    alone = WorkerHost(source, TaggedLog(), 120, WorkerStarter(0))
    configs = [LoraConfig(batch, 8, 4, 64) for batch in (1, 4, 16)]
    times: dict[tuple[LoraConfig, bool], list[float]] = {}
    for number in range(arguments.rounds):
        for config in configs:
            for is_watched in (True, False) if number % 2 else (False, True):
                host = watched if is_watched else alone
                watch = new_guard() if is_watched else NoGuard()
                found = measure(host, config, arguments.steps, watch)
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
