"""Does the sweep measure what a user's own `mlx_lm.lora` run does?

python tests/performance/truth.py [--rounds 3]

The same model folder, data and configuration through both, each in processes of its own,
interleaved: the ratio of median step times (0.95 to 1.05) and of MLX's peaks (within 1 %).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import ROOT, pytest_command, read_profile, table, timed, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.models import make_data, make_model

CONFIGURATIONS = ((1, 4, 2), (1, 8, 4), (2, 4, 4), (2, 8, 2), (4, 8, 2), (4, 8, 4))
KEYS = [f"self_attn.{name}_proj" for name in "qkvo"]
MEASURED_STEPS = 20
MAX_SEQ_LENGTH = 64


def ours(folder: Path, batch: int, rank: int, layers: int) -> tuple[float, int, int]:
    matrix = {"batch_size": [batch], "lora_rank": [rank], "lora_layers": [layers]}
    (folder / "one.yaml").write_text(json.dumps(matrix))
    timed(
        pytest_command("--yourai-model", str(folder / "model"), "--yourai-matrix", "one.yaml")
        + ["--yourai-data", "data", "--yourai-seq-length", str(MAX_SEQ_LENGTH)]
        + ["--yourai-steps", str(MEASURED_STEPS)],
        folder,
    )
    row = read_profile(folder)["all_results"][0]
    steps = len(row["warmup_step_times_s"]) + len(row["step_times_s"])
    return statistics.median(row["step_times_s"]), row["peak_memory_bytes"], steps


def stock(folder: Path, batch: int, rank: int, layers: int, steps: int) -> tuple[float, int]:
    settings: dict[str, Any] = {
        "lora_parameters": {"rank": rank, "scale": 20.0, "dropout": 0.0, "keys": KEYS}
    }
    (folder / "lora.yaml").write_text(json.dumps(settings))
    script = str(Path(__file__).with_name("_stock_lora.py"))
    timed(
        [sys.executable, script, "stock.json", "--train", "--model", str(folder / "model")]
        + ["--data", "data", "--config", "lora.yaml", "--batch-size", str(batch)]
        + ["--num-layers", str(layers), "--iters", str(steps), "--learning-rate", "1e-5"]
        + ["--max-seq-length", str(MAX_SEQ_LENGTH), "--adapter-path", "adapters"],
        folder,
    )
    found = json.loads((folder / "stock.json").read_text())
    return statistics.median(found["step_times_s"][-MEASURED_STEPS:]), found["peak_memory_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        make_data(folder / "data")
        for configuration in CONFIGURATIONS:
            times: tuple[list[float], list[float]] = ([], [])
            peaks: tuple[list[int], list[int]] = ([], [])
            for _ in range(rounds):
                time_s, peak, steps = ours(folder, *configuration)
                times[0].append(time_s)
                peaks[0].append(peak)
                time_s, peak = stock(folder, *configuration, steps)
                times[1].append(time_s)
                peaks[1].append(peak)
            time_ratio = statistics.median(times[0]) / statistics.median(times[1])
            peak_ratio = statistics.median(peaks[0]) / statistics.median(peaks[1])
            rows.append(
                [" × ".join(map(str, configuration))]
                + [f"{statistics.median(side) * 1e3:.1f}" for side in times]
                + [f"{time_ratio:.3f}", verdict(0.95 <= time_ratio <= 1.05)]
                + [f"{statistics.median(side) / 1e6:.3f}" for side in peaks]
                + [f"{peak_ratio:.4f}", verdict(abs(peak_ratio - 1) <= 0.01)]
            )
    table(
        ["batch × rank × layers", "step ms: sweep", "mlx_lm.lora", "ratio", "0.95-1.05"]
        + ["peak MB: sweep", "mlx_lm.lora", "ratio", "within 1%"],
        rows,
    )


if __name__ == "__main__":
    main()
