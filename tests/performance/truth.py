"""Does the sweep measure, and training do, what a user's own `mlx_lm.lora -c` does?

python tests/performance/truth.py [--axis sizes,recipes,effective] [--rounds 2] [--only NAME ...]

The same YAML, model folder and data through both, each in a process of its own. Both run at once,
and their measured steps take turns, one of each: what else the machine does hits both alike.
Allowed: step times of 0.95 to 1.05 times mlx-lm's (the median of all pairs of steps, or of whole
cycles where gradients accumulate), its peak within 1 %; and the losses of the first 20 steps equal
to 1e-5. Peaks are those of the steps in turn, since MLX runs ahead by more where both work at
once. `needs` is compared with steps of the same stock process after its memory limit became one
byte, and is the same statistic of both. Stock saves nothing meanwhile: from its first save on
mlx-lm's loop holds a second copy of what it saved.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from _common import ROOT, pytest_command, read_profile, table, timed, verdict

sys.path.insert(0, str(ROOT / "tests"))
from _engine_in_turns import FOLDER
from _truth_cases import AXES, Case, make_models
from pytest_yourai.core.config import StepPlan
from pytest_yourai.core.cycles import TrialSteps
from pytest_yourai.verify.stock import StockRun, write_recipe
from pytest_yourai.worker.turns import make_pipes

WARMUP_STEPS = 12
MEASURED_STEPS = 30
MEASURED_CYCLES = 12
LIMITED_STEPS = 8
LIMITED_CYCLES = 4
COMPARED_LOSSES = 20
MOST_S = 600


@dataclass(frozen=True)
class Figures:
    """Of one process: seconds of each cycle, the peak of free steps, and of steps under a limit."""

    cycle_times_s: list[float]
    takes_bytes: float
    needs_bytes: float


def whole_cycles(steps: int, accumulation: int, least: int = 2) -> int:
    """At least `steps`, and at least so many cycles."""
    return accumulation * max(least, -(-steps // accumulation))


def cycles(times_s: Sequence[float], accumulation: int) -> list[float]:
    starts = range(0, len(times_s), accumulation)
    return [sum(times_s[start : start + accumulation]) for start in starts]


def ours(folder: Path, case: Case) -> Figures:
    accumulation = case.accumulation
    measured = whole_cycles(MEASURED_STEPS, accumulation, MEASURED_CYCLES)
    write_recipe(folder / "ours.yaml", {**case.recipe, **case.ours})
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    variables = {
        "YOURAI_TEST_ENGINE": "_engine_in_turns:EngineInTurns",
        "PYTHONPATH": os.pathsep.join(paths),
        FOLDER: str(folder),
    }
    timed(
        pytest_command("--yourai-config", "ours.yaml", "--yourai-model", str(folder / case.model))
        # The first cycle comes before the turns.
        + ["--yourai-steps", str(measured + accumulation)],
        folder,
        variables,
    )
    [row] = read_profile(folder)["all_results"]
    times = cycles(row["step_times_s"][-measured:], accumulation)
    return Figures(times, row["peak_memory_bytes"], row["minimum_memory_bytes"])


def stock(folder: Path, case: Case) -> tuple[Figures, list[float]]:
    """Figures, and the losses of all steps."""
    accumulation = case.accumulation
    warm = whole_cycles(WARMUP_STEPS, accumulation)
    measured = whole_cycles(MEASURED_STEPS, accumulation, MEASURED_CYCLES)
    free, limited = warm + measured, whole_cycles(LIMITED_STEPS, accumulation, LIMITED_CYCLES)
    with StockRun(
        folder, case.recipe, free_steps=free, steps_in_turn=measured, limited_steps=limited
    ) as run:
        found = run.steps(MOST_S)
    peaks = found.peaks_bytes
    # The first cycle under the limit, which still has what the free steps kept, does not count.
    needs = TrialSteps(StepPlan(), accumulation).minimum_bytes(peaks[free:])
    times = cycles(found.step_times_s[warm:free], accumulation)
    return Figures(times, max(peaks[warm:free]), needs), found.losses


def trained_losses(folder: Path, case: Case) -> list[float]:
    write_recipe(folder / "ours.yaml", {**case.recipe, **case.ours})
    steps = whole_cycles(COMPARED_LOSSES, case.accumulation)
    with tempfile.TemporaryDirectory(dir=folder) as adapters:
        timed(
            [sys.executable, "-m", "pytest_yourai", "train", "--config", "ours.yaml"]
            + ["--model", str(folder / case.model), "--data", "data"]
            + ["--max-steps", str(steps), "--adapter-path", adapters],
            folder,
        )
        rows = map(json.loads, (Path(adapters) / "metrics.jsonl").read_text().splitlines())
        return [row["train_loss"] for row in rows if "train_loss" in row]


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Relative, over the first COMPARED_LOSSES."""
    pairs = zip(one[:COMPARED_LOSSES], other[:COMPARED_LOSSES], strict=True)
    return max(abs(mine - theirs) / abs(theirs) for mine, theirs in pairs)


def compare(folder: Path, case: Case, rounds: int) -> list[str]:
    pairs: list[tuple[Figures, Figures]] = []
    losses: list[float] = []
    for _ in range(rounds):
        make_pipes(folder)
        with ThreadPoolExecutor() as threads:
            both = threads.submit(ours, folder, case), threads.submit(stock, folder, case)
            theirs, losses = both[1].result()
            pairs.append((both[0].result(), theirs))
    difference = largest_difference(trained_losses(folder, case), losses)
    ratios = [
        mine / theirs
        for pair in pairs
        for mine, theirs in zip(*(each.cycle_times_s for each in pair), strict=True)
    ]
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    usual = statistics.median(time for _, theirs in pairs for time in theirs.cycle_times_s)
    row = [case.name, f"{usual / case.accumulation * 1e3:.1f}", f"{ratio:.3f}"]
    row += [f"{low:.2f}-{high:.2f}", str(len(ratios)), verdict(0.95 <= ratio <= 1.05)]
    for name in ("takes_bytes", "needs_bytes"):
        sides = [[getattr(pair[side], name) for pair in pairs] for side in (0, 1)]
        mine_mb, theirs_mb = (statistics.median(side) / 1e6 for side in sides)
        off = mine_mb / theirs_mb - 1
        row += [f"{mine_mb:.3f}", f"{theirs_mb:.3f}", f"{off:+.2%}", verdict(abs(off) <= 0.01)]
    return [*row, f"{difference:.0e}", verdict(difference <= 1e-5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--axis", default=",".join(AXES), help="one or more, between commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of recipes")
    asked = parser.parse_args()
    header = ["recipe", "stock ms", "ours ÷ stock", "quartiles", "pairs", "0.95-1.05"]
    header += ["takes MB", "stock", "off", "1 %", "needs MB", "stock", "off", "1 %"]
    header += ["losses off", "1e-5"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder)
        for axis in asked.axis.split(","):
            cases = [case for case in AXES[axis]() if not asked.only or case.name in asked.only]
            rows = []
            for case in cases:
                rows.append(compare(folder, case, asked.rounds))
                print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
            table(header, rows)


if __name__ == "__main__":
    main()
