"""Are losses the same with reloads and after kills, and does memory keep what the trial promised?

python tests/performance/curves.py [--kills 20] [--steps 200]

`yourai train` in processes of its own, on a small model and data that are made here:
reloaded every 20 steps against one process (equal to 1e-5, relative, at every step); killed with
SIGKILL at random moments and resumed until it is done (the same curve, and at most --save-every
steps lost each time); 500 steps with the winner of a sweep (peak within 5 % of the trial's).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, timed, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.models import make_data, make_model

SAVE_EVERY = 10
STEPS_BETWEEN_KILLS = 60
"""So many that the run is not done before the last kill."""
SETTINGS = ("--model", "./model", "--data", "data", "--batch-size", "2", "--lora-rank", "8")
MORE = ("--lora-layers", "4", "--seq-length", "64", "--max-memory", "1", "--learning-rate", "1e-3")


def command(adapters: str, steps: int, *arguments: str) -> list[str]:
    settings = [*SETTINGS, *MORE, "--adapter-path", adapters, "--max-steps", str(steps)]
    return [sys.executable, "-m", "pytest_yourai", "train", *settings, *arguments]


def losses(folder: Path, adapters: str) -> dict[int, float]:
    rows = map(json.loads, (folder / adapters / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}


def largest_difference(one: dict[int, float], other: dict[int, float]) -> float:
    """Relative; infinite where steps are missing."""
    if one.keys() != other.keys():
        return float("inf")
    return max(abs(one[step] - other[step]) / abs(one[step]) for step in one)


def reloads(folder: Path, steps: int) -> None:
    timed(command("one", steps), folder)
    timed(command("reloaded", steps, "--reload-interval", "20"), folder)
    difference = largest_difference(losses(folder, "one"), losses(folder, "reloaded"))
    print(
        f"{steps} steps, reloaded every 20: largest relative difference {difference:.1e}",
        verdict(difference <= 1e-5),
        flush=True,
    )


def last_step(folder: Path, adapters: str) -> int:
    try:
        return max(losses(folder, adapters), default=0)
    except (OSError, ValueError):
        return 0


def kills(folder: Path, most: int) -> None:
    steps = most * STEPS_BETWEEN_KILLS
    timed(command("long", steps), folder)
    chance = random.Random(7)
    lost: list[int] = []
    for _ in range(most):
        has_checkpoint = (folder / "killed" / "checkpoint.safetensors").exists()
        before = last_step(folder, "killed")
        arguments = ["--save-every", str(SAVE_EVERY), *(["--resume"] if has_checkpoint else [])]
        process = subprocess.Popen(
            command("killed", steps, *arguments),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # Most moments are while steps run, some while it starts or loads.
        time.sleep(chance.uniform(1.0, 6.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        reached = max(before, last_step(folder, "killed"))
        lost.append(reached - saved_step(folder))
    saved = saved_step(folder)
    if saved < steps:
        timed(command("killed", steps, "--save-every", str(SAVE_EVERY), "--resume"), folder)
    difference = largest_difference(losses(folder, "long"), losses(folder, "killed"))
    print(
        f"{most} kills, the last at step {saved} of {steps}: steps lost {lost}, largest relative "
        f"difference {difference:.1e}",
        verdict(difference <= 1e-5 and max(lost) <= SAVE_EVERY),
        flush=True,
    )


def saved_step(folder: Path) -> int:
    from pytest_yourai.training.checkpoint import read_checkpoint  # noqa: PLC0415

    found = read_checkpoint(folder / "killed") if (folder / "killed").is_dir() else None
    return found.step if found else 0


def promise(folder: Path) -> None:
    _, printed = timed(
        [sys.executable, "-m", "pytest_yourai", "train", "--model", "tiny"]
        + ["--weights", "synthetic", "--auto-optimize", "--quick", "--max-memory", "1"]
        + ["--max-steps", "500", "--adapter-path", "promised"],
        folder,
    )
    [line] = [line for line in printed.splitlines() if line.startswith("Peak memory")]
    percent = float(line.rpartition("(")[2].partition(" ")[0])
    print(f"500 steps with the winner: {line}", verdict(abs(percent) <= 5), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        make_data(folder / "data", rows=61)
        reloads(folder, asked.steps)
        kills(folder, asked.kills)
        promise(folder)


if __name__ == "__main__":
    main()
