"""Interrupts sweeps around the end of a trial, and counts what that loses.

    python tests/attacks/interrupts.py [--moments 200] [--seed 1]

Each moment is a sweep of tiny with the scripted engine in a process of its own, which gets SIGINT
or SIGTERM some milliseconds after a trial began, or after the journal has its result. Results that
the journal has and the profile has not are lost. The status is 1 if any is, or if there was a
traceback or a process left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.faults import processes_left  # noqa: E402
from support.processes import Running, events, finish, profile, start_sweep, worker_pids  # noqa: E402

_MATRIX = "batch_size: [1, 2, 4]\nlora_rank: [4, 8]\nlora_layers: [2]\n"

_SCRIPTED = {
    "YOURAI_TEST_ENGINE": "support.scripted_engine:ScriptedEngine",
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
    "PYTEST_ADDOPTS": "-p no:hypothesispytest -p no:cacheprovider",
}

_MOST_AFTER_START_S = 0.2

_MOST_AFTER_END_S = 0.03

_SHARE_AFTER_START = 0.25

_LET_PROCESSES_END_S = 3.0


@dataclass(frozen=True)
class Moment:
    """A signal, `delay_s` after the `number`th of an event."""

    sent: signal.Signals
    event: str
    number: int
    delay_s: float


@dataclass(frozen=True)
class Came:
    """What became of a sweep."""

    lost: int
    tracebacks: int
    left: int
    status: int


def moments(count: int, seed: int) -> list[Moment]:
    chance = random.Random(seed)
    found = []
    for place in range(count):
        event, most_s = "trial_complete", _MOST_AFTER_END_S
        if chance.random() < _SHARE_AFTER_START:
            event, most_s = "trial_start", _MOST_AFTER_START_S
        sent = signal.SIGINT if place % 2 else signal.SIGTERM
        found.append(Moment(sent, event, chance.randint(1, 5), chance.uniform(0, most_s)))
    return found


def interrupt(moment: Moment, folder: Path) -> Came:
    environment = {**_SCRIPTED, "XDG_CACHE_HOME": str(folder / "cache")}
    with start_sweep(
        folder, "--yourai-steps=2", matrix=_MATRIX, environment=environment
    ) as process:
        _wait(process, folder, moment)
        time.sleep(moment.delay_s)
        process.send_signal(moment.sent)
        output = finish(process)
    known = {_configuration(each) for each in events(folder, "trial_complete")}
    has_profile = (folder / "optimal_config.json").exists()
    rows = profile(folder)["all_results"] if has_profile else []
    lost = known - {_configuration(each) for each in rows}
    deadline = time.monotonic() + _LET_PROCESSES_END_S
    while (left := processes_left(worker_pids(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    tracebacks = output.count("Traceback") + output.count("INTERNALERROR")
    return Came(len(lost), tracebacks, left, process.wait())


def _wait(process: Running, folder: Path, moment: Moment) -> None:
    while len(_whole(folder, moment.event)) < moment.number and process.poll() is None:
        time.sleep(0.002)


def _whole(folder: Path, event: str) -> list[str]:
    path = folder / "benchmark_log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [line for line in text.splitlines() if f'"event": "{event}"' in line]


def _configuration(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[key] for key in ("batch_size", "lora_rank", "lora_layers"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sums: dict[tuple[str, str], Counter[str]] = {}
    statuses: Counter[int] = Counter()
    for moment in moments(asked.moments, asked.seed):
        with tempfile.TemporaryDirectory() as folder:
            came = interrupt(moment, Path(folder))
        counted = sums.setdefault((moment.sent.name, moment.event), Counter())
        counted.update(moments=1, lost=came.lost, tracebacks=came.tracebacks, left=came.left)
        statuses[came.status] += 1
        if came.lost or came.tracebacks or came.left:
            print(f"{moment}: {came}", flush=True)
    print("| signal | after | moments | results lost | tracebacks | processes left |")
    print("|---|---|--:|--:|--:|--:|")
    for (sent, event), counted in sorted(sums.items()):
        figures = (counted[key] for key in ("moments", "lost", "tracebacks", "left"))
        print(f"| {sent} | {event} | {' | '.join(map(str, figures))} |")
    print(f"exit statuses: {dict(sorted(statuses.items()))}")
    return int(any(each["lost"] or each["tracebacks"] or each["left"] for each in sums.values()))


if __name__ == "__main__":
    sys.exit(main())
