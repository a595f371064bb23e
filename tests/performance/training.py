"""Does training take as long as with `mlx_lm.lora`?

python tests/performance/training.py [--rounds 5] [--steps 300]

The same model folder, data and settings through both, each in processes of its own, interleaved:
wall time of ten steps, reports and all, its median over each run, and the ratio of the medians of
all runs (at most 1.03). On a busy machine single pairs differ by 10 % either way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, table, timed, verdict

sys.path.insert(0, str(ROOT / "tests"))
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.signals import StopSignals
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.training.supervisor import TrainingRun
from pytest_yourai.worker.protocol import TrainedStep, TrainingEvent

from support.models import make_data, make_model
from support.training_runs import settings

CONFIGURATIONS = (LoraConfig(1, 8, 4, 64), LoraConfig(4, 8, 4, 64))
FIRST = 20
SPAN = 10
GB = 1_000_000_000
MOST = 1.03


class Clock:
    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def begin(self, first_step: int) -> None:
        pass

    def add(self, event: TrainingEvent) -> None:
        if isinstance(event, TrainedStep):
            self.seen[event.step] = time.perf_counter()

    def compiling(self, elapsed_s: float, limit_s: float) -> None:
        pass

    def print_line(self, text: str) -> None:
        print(text)


def ours(folder: Path, config: LoraConfig, steps: int) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as adapters:
        asked = settings(
            folder,
            adapters,
            config=config,
            memory_limit_bytes=8 * GB,
            max_steps=steps,
            learning_rate=1e-5,
            seed=0,
            save_every=100,
            steps_per_eval=200,
            val_batches=25,
            max_skipped_batches=10,
        )
        clock = Clock()
        with StopSignals() as signals:
            run = TrainingRun(asked, TaggedLog(), signals)
            try:
                run.train(run.inspect(), clock)
            finally:
                run.close()
    return pace(clock.seen, steps)


def stock(folder: Path, config: LoraConfig, steps: int) -> float:
    keys = [f"self_attn.{name}_proj" for name in "qkvo"]
    parameters = {"rank": config.rank, "scale": 20.0, "dropout": 0.0, "keys": keys}
    (folder / "lora.yaml").write_text(json.dumps({"lora_parameters": parameters}))
    script = str(Path(__file__).with_name("_stock_pace.py"))
    timed(
        [sys.executable, script, "pace.json", "--train", "--model", str(folder / "model")]
        + ["--data", "data", "--config", "lora.yaml", "--batch-size", str(config.batch_size)]
        + ["--num-layers", str(config.num_layers), "--iters", str(steps)]
        + ["--max-seq-length", str(config.max_seq_length), "--adapter-path", "adapters"],
        folder,
    )
    seen = json.loads((folder / "pace.json").read_text())
    return pace({int(step): at for step, at in seen.items()}, steps)


def pace(seen: dict[int, float], steps: int) -> float:
    """Seconds a step: the median over spans of ten steps, at whose ends both report."""
    ends = range(FIRST + SPAN, steps + 1, SPAN)
    return statistics.median((seen[end] - seen[end - SPAN]) / SPAN for end in ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        make_data(folder / "data")
        for config in CONFIGURATIONS:
            pairs = [
                (ours(folder, config, asked.steps), stock(folder, config, asked.steps))
                for _ in range(asked.rounds)
            ]
            own, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = own / theirs
            ratios = " ".join(f"{mine / other:.3f}" for mine, other in pairs)
            rows.append(
                (str(config), f"{own * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms", f"{ratio:.3f}")
                + (ratios, verdict(ratio <= MOST))
            )
    table(("configuration", "ours", "mlx_lm.lora", "ratio", "each pair", ""), rows)


if __name__ == "__main__":
    main()
