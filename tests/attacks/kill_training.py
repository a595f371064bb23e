"""Kills `yourai train` at random moments and resumes it: python tests/attacks/kill_training.py

SIGKILL strikes the command, its worker or both, also while it starts, saves and reloads. After each
kill the rows of metrics.jsonl must be the first ones of an undisturbed run, and the checkpoint must
be readable; each run that came to its end must have the adapters of the undisturbed one, to the
bit. Prints a table; the exit status is 1 where anything was lost.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pytest_yourai.core.errors import CheckpointError
from pytest_yourai.training.checkpoint import read_checkpoint
from pytest_yourai.training.metrics_file import METRICS_NAME
from pytest_yourai.worker.checkpoint_file import ADAPTERS

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.kills import Killer, parsed_arguments
from support.models import TINY, make_data, make_model

FAULTS = {
    "metrics": "metrics.jsonl no prefix",
    "checkpoint": "checkpoint unreadable",
    "processes left": "processes left",
}

STEPS = 60

FLAGS = (
    *("--model", "model", "--data", "data", "--batch-size", "2", "--lora-rank", "2"),
    *("--lora-layers", "1", "--seq-length", "16", "--learning-rate", "1e-3"),
    *("--max-steps", str(STEPS), "--save-every", "7", "--reload-interval", "32"),
)

_GONE_WITHIN_S = 5.0

_MOST_KILLS = 10
"""Of one run, which then comes to its end."""


class Attack:
    """Runs in `folder`, against the undisturbed one of `reference`."""

    def __init__(self, folder: Path, chooser: random.Random) -> None:
        self.folder, self.chooser = folder, chooser
        self.killer = Killer("command", chooser)
        self.finished = self.equal = self.not_resumed = 0
        began = time.monotonic()
        process = self._start("reference")
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(output)
        self.whole_run_s = time.monotonic() - began
        self.losses = self._losses(folder / "reference") or []
        self.adapters = (folder / "reference" / ADAPTERS).read_bytes()

    def run(self, name: str, most: int, deadline: float) -> None:
        """Kill one run again and again, until it is finished."""
        adapters, first = self.folder / name, self.killer.kills
        while time.monotonic() < deadline:
            process, kills_before = self._start(name), self.killer.kills
            while self.killer.kills < most and self.killer.kills < first + _MOST_KILLS:
                try:
                    process.wait(self.chooser.uniform(0.2, 0.7 * self.whole_run_s))
                    break
                except subprocess.TimeoutExpired:
                    self._strike(process, adapters)
            output, _ = process.communicate()
            if process.returncode == 0:
                self.finished += 1
                same = (adapters / ADAPTERS).read_bytes() == self.adapters
                self.equal += same and self._losses(adapters) == self.losses
                return
            if process.returncode > 0 and self.killer.kills == kills_before:
                print(output, file=sys.stderr)
                self.not_resumed += 1
                return

    def _start(self, name: str) -> subprocess.Popen[str]:
        adapters = self.folder / name
        resume = ("--resume",) if adapters.is_dir() and _has_checkpoint(adapters) else ()
        command = [sys.executable, "-m", "pytest_yourai", "train", *FLAGS, *resume]
        return subprocess.Popen(
            [*command, "--adapter-path", name],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _strike(self, process: subprocess.Popen[str], adapters: Path) -> None:
        struck = self.killer.strike(process)
        if struck is None:
            return
        tally = self.killer.tallies[struck.victim]
        if struck.victim != "worker":
            process.wait()
            _, alive = psutil.wait_procs(struck.workers, _GONE_WITHIN_S)
            tally.faults["processes left"] += len(alive)
        tally.faults["metrics"] += not self._are_a_prefix(self._losses(adapters))
        try:
            _has_checkpoint(adapters)
        except CheckpointError as problem:
            print(problem, file=sys.stderr)
            tally.faults["checkpoint"] += 1

    def _are_a_prefix(self, losses: list[tuple[int, float]] | None) -> bool:
        return losses is not None and losses == self.losses[: len(losses)]

    @staticmethod
    def _losses(adapters: Path) -> list[tuple[int, float]] | None:
        """Steps and losses of metrics.jsonl; None where a line is not whole."""
        path = adapters / METRICS_NAME
        if not path.exists():
            return []
        text = path.read_text()
        try:
            rows = [json.loads(line) for line in text.splitlines()]
        except ValueError:
            return None
        return [(row["step"], row["train_loss"]) for row in rows]


def _has_checkpoint(adapters: Path) -> bool:
    return adapters.is_dir() and read_checkpoint(adapters) is not None


def main() -> int:
    given = parsed_arguments(__doc__, kills=100, minutes=10.0)
    deadline = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model", {**TINY, "num_hidden_layers": 1})
        make_data(folder / "data", rows=11, words=20)
        attack = Attack(folder, random.Random(given.seed))
        runs = 0
        while attack.killer.kills < given.kills and time.monotonic() < deadline:
            runs += 1
            attack.run(f"run{runs}", given.kills, deadline)
    print("\n".join(attack.killer.table(FAULTS)))
    print(
        f"{runs} runs: {attack.finished} to the end, {attack.equal} of them equal to the bit, "
        f"{attack.not_resumed} not resumed"
    )
    lost = attack.killer.faults + attack.not_resumed
    return int(lost > 0 or attack.equal < attack.finished)


if __name__ == "__main__":
    sys.exit(main())
