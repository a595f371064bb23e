"""What does a sweep cost beyond its steps, and against one `mlx_lm.lora` process for each trial?

python tests/performance/cost.py [--rounds 1]

`--yourai-model tiny --quick` against twelve `mlx_lm.lora` processes with as many steps each,
interleaved. Allowed beyond the steps: 2.5 s, and 0.08 s a trial. At least 1.6 times less wall time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from _common import ROOT, pytest_command, read_profile, sum_of_steps_s, table, timed, verdict

sys.path.insert(0, str(ROOT / "tests"))
from _truth_cases import make_models, sized_recipe
from pytest_yourai.verify.stock import StockRun

START_S = 2.5
EACH_TRIAL_S = 0.08
TIMES_LESS = 1.6
MOST_S = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder)
        for number in range(1, parser.parse_args().rounds + 1):
            wall_s, _ = timed(pytest_command("--yourai-model", "tiny", "--quick"), folder)
            results = read_profile(folder)["all_results"]
            steps_s = sum_of_steps_s(read_profile(folder))
            allowed_s = START_S + EACH_TRIAL_S * len(results)
            stock_s = sum(one_process_s(folder, row) for row in results)
            ratios.append(stock_s / wall_s)
            over_s = wall_s - steps_s
            rows.append(
                [str(number), f"{wall_s:.2f}", f"{steps_s:.2f}", f"{over_s:.2f}"]
                + [f"{allowed_s:.2f}", verdict(over_s <= allowed_s)]
                + [f"{stock_s:.2f}", f"{ratios[-1]:.2f}", verdict(ratios[-1] >= TIMES_LESS)]
            )
    table(
        ["round", "sweep s", "its steps s", "beyond s", "allowed s", "", "12 × mlx_lm.lora s"]
        + ["times", f"≥ {TIMES_LESS}"],
        rows,
    )
    print(f"median: {statistics.median(ratios):.2f} times less wall time")


def one_process_s(folder: Path, row: dict[str, object]) -> float:
    lists = (row["warmup_step_times_s"], row["step_times_s"])
    steps = sum(len(times) for times in lists if isinstance(times, list))
    sizes = [int(str(row[key])) for key in ("batch_size", "lora_rank", "lora_layers")]
    return stock_wall_s(folder, sizes, steps)


def stock_wall_s(folder: Path, sizes: list[int], steps: int) -> float:
    import time  # noqa: PLC0415

    start = time.perf_counter()
    with StockRun(folder, sized_recipe("tiny", *sizes), free_steps=steps) as run:
        run.steps(MOST_S)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
