"""Kills sweeps at random moments and resumes them: python tests/attacks/kill_sweeps.py

SIGKILL strikes pytest, its worker or both, also while they start and end. Each kill is followed by
`--yourai-resume`, until the sweep is through. No result of the journal may be lost, changed or
measured twice, status 0 needs every configuration measured and the undisturbed run's optimum, no
traceback may be shown, and no process stay. Prints a table; the exit status is 1 where one did.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.faults import processes_left
from support.kills import Killer, parsed_arguments
from support.processes import events, profile, worker_pids

TESTS = Path(__file__).parents[1]

FAULTS = ("lost", "changed", "measured twice", "wrong with status 0", "traceback", "processes left")

MATRIX = "batch_size: [1, 2, 4]\nlora_rank: [4]\nlora_layers: [1, 2]\n"

COMMAND = (
    *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--yourai-model=tiny"),
    *("--yourai-matrix=m.yaml", "--yourai-steps=2"),
)

_GONE_WITHIN_S = 5.0

_AXES = ("batch_size", "lora_rank", "lora_layers")

_MEASURED = ("step_times_s", "minimum_memory_bytes", "peak_memory_bytes")

Config = tuple[int, ...]


class Attack:
    """Sweeps in folders of `root`, against the undisturbed one."""

    def __init__(self, root: Path, chooser: random.Random) -> None:
        self._root, self._chooser = root, chooser
        self.killer = Killer("pytest", chooser)
        self.chains = self.finished = 0
        folder = self._folder("reference")
        began = time.monotonic()
        process = self._start(folder)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(output)
        self._whole_run_s = time.monotonic() - began
        self._right = _answer(folder)

    def run(self, most: int, deadline: float) -> None:
        """Kill one sweep again and again, until it is through."""
        self.chains += 1
        folder = self._folder(f"sweep{self.chains}")
        while time.monotonic() < deadline:
            before = _journaled(folder)
            process = self._start(folder, "--yourai-resume") if before else self._start(folder)
            victim = None
            if self.killer.kills < most:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._chooser.uniform(0.2, self._whole_run_s))
                if process.poll() is None and (struck := self.killer.strike(process)):
                    victim = struck.victim
            output, _ = process.communicate()
            self._judge(folder, before, output, process.returncode, victim)
            if process.returncode == 0:
                self.finished += 1
                return

    def _judge(
        self, folder: Path, before: dict[Config, Any], output: str, status: int, victim: str | None
    ) -> None:
        """Faults are those of the kill, or of the last one where this run was not struck."""
        found = Counter[str]()
        found["processes left"] = _left(folder)
        found["traceback"] = "Traceback (most" in output or "INTERNALERROR" in output
        if status >= 0 and (folder / "optimal_config.json").exists():
            rows = {_config(row): row for row in profile(folder)["all_results"]}
            for config, measured in before.items():
                row = rows.get(config)
                if row is None or row["outcome"] != "ok":
                    found["lost"] += 1
                else:
                    found["changed"] += any(row[key] != measured[key] for key in _MEASURED)
        found["lost"] += len(before.keys() - _journaled(folder).keys())
        measured = Counter(map(_config, _ok(folder)))
        found["measured twice"] = sum(count - 1 for count in measured.values())
        found["wrong with status 0"] = status == 0 and _answer(folder) != self._right
        if found.total():
            sys.stderr.write(f"{victim}, status {status}: {dict(found)}\n{output}\n")
        self.killer.tallies[victim or "pytest"].faults += found

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir()
        (folder / "m.yaml").write_text(MATRIX)
        (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        return folder

    def _start(self, folder: Path, *flags: str) -> subprocess.Popen[str]:
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
            "YOURAI_TEST_ENGINE": "support.scripted_engine:ScriptedEngine",
            "YOURAI_TEST_STEP_S": "0.03",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        return subprocess.Popen(
            [*COMMAND, *flags],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _config(row: dict[str, Any]) -> Config:
    return tuple(row[axis] for axis in _AXES)


def _ok(folder: Path) -> list[dict[str, Any]]:
    return [event for event in events(folder, "trial_complete") if event["outcome"] == "ok"]


def _journaled(folder: Path) -> dict[Config, dict[str, Any]]:
    return {_config(event): event for event in _ok(folder)}


def _answer(folder: Path) -> tuple[object, ...]:
    found = profile(folder)
    rows = sorted((_config(row), row["outcome"]) for row in found["all_results"])
    return (*(found[f"optimal_{axis}"] for axis in _AXES), *rows)


def _left(folder: Path) -> int:
    """How many processes of the workers' sessions live on after a while."""
    pids, deadline = worker_pids(folder), time.monotonic() + _GONE_WITHIN_S
    while (left := processes_left(pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def main() -> int:
    given = parsed_arguments(__doc__, kills=200, minutes=8.0)
    deadline = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as name:
        attack = Attack(Path(name), random.Random(given.seed))
        while attack.killer.kills < given.kills and time.monotonic() < deadline:
            attack.run(given.kills, deadline)
    print("\n".join(attack.killer.table(FAULTS)))
    print(f"{attack.chains} sweeps, {attack.finished} through with the undisturbed one's answer")
    return int(attack.killer.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
