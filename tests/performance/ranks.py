"""What do two ranks of this machine need, against one process with half the batch?

python tests/performance/ranks.py [--batch-size 2,4,8]

`tiny` on two ranks of the CPU's ring, and alone at half the batch. Needs are within 3 %; a trial
takes at most 0.3 s beyond its steps, those of its load and of the first compilation left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _common import pytest_command, read_profile, table, timed, verdict

NEEDS_TOLERANCE = 0.03
BEYOND_S = 0.3
RANKS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", default="2,4,8")
    sizes = [int(each) for each in parser.parse_args().batch_size.split(",")]
    with tempfile.TemporaryDirectory() as name:
        together, beyond_s = measured(Path(name) / "ranks", sizes, f"--yourai-hosts={RANKS}")
        alone, alone_s = measured(Path(name) / "alone", [size // RANKS for size in sizes])
    rows = []
    for (batch, *others), row in together.items():
        one = alone[(batch // RANKS, *others)]
        ratio = row["minimum_memory_bytes"] / one["minimum_memory_bytes"]
        slower = row["step_time_s"] / one["step_time_s"]
        rows.append(
            [f"{batch}", *map(str, others), f"{row['minimum_memory_bytes'] / 1e6:.3f}"]
            + [f"{one['minimum_memory_bytes'] / 1e6:.3f}", f"{ratio - 1:+.2%}"]
            + [verdict(abs(ratio - 1) <= NEEDS_TOLERANCE), f"{slower:.2f}"]
            + [f"{row['communication_share']:.1%}"]
        )
    table(
        ["batch", "rank", "layers", "needs MB", "half alone MB", "", f"≤ {NEEDS_TOLERANCE:.0%}"]
        + ["step, times alone's", "sum"],
        rows,
    )
    median_s = statistics.median(beyond_s)
    print(
        f"beyond its steps a trial took {median_s:.2f} s (median of {len(beyond_s)}, largest "
        f"{max(beyond_s):.2f} s), allowed {BEYOND_S:g} s: {verdict(median_s <= BEYOND_S)}"
    )
    print(
        f"alone it took {statistics.median(alone_s):.2f} s; mlx-lm's own two sums a step, by which "
        "it reports loss and tokens, are outside of its step times"
    )


def measured(
    folder: Path, sizes: list[int], *flags: str
) -> tuple[dict[tuple[int, ...], dict[str, Any]], list[float]]:
    """The rows of a sweep by batch size, rank and layers, and seconds of each beyond its steps."""
    folder.mkdir()
    chosen = f"--yourai-batch-size={','.join(map(str, sizes))}"
    timed(pytest_command("--yourai-model", "tiny", "--quick", chosen, *flags), folder)
    rows: dict[tuple[int, ...], dict[str, Any]] = {
        (row["batch_size"], row["lora_rank"], row["lora_layers"]): row
        | {"step_time_s": row["step_time_ms"] / 1e3}
        for row in read_profile(folder)["all_results"]
        if row["outcome"] == "ok"
    }
    return rows, beyond_steps_s(folder / "benchmark_log.jsonl")


def beyond_steps_s(journal: Path) -> list[float]:
    """Of each trial that loaded nothing: its time, less all its steps."""
    found = []
    began_s, is_warm = 0.0, True
    for line in journal.read_text().splitlines():
        event = json.loads(line)
        match event["event"]:
            case "trial_start":
                began_s, is_warm = event["timestamp"], True
            case "model_loaded":
                is_warm = False
            case "trial_complete" if event["outcome"] == "ok" and is_warm:
                steps_s = sum(event["warmup_step_times_s"]) + sum(event["step_times_s"])
                found.append(event["timestamp"] - began_s - steps_s)
    return found


if __name__ == "__main__":
    main()
