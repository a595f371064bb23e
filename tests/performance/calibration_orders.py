"""Does what one model teaches harm the predictions of another?

python tests/performance/calibration_orders.py [--record] [--orders N]

Runs five models of different kinds in every order, or in N of them, with one calibration cache, and
compares the error of each with that of a clean cache: allowed is 1.2 times as much and 0.5 points.
Then each model a second time after another one. The trials are those of
tests/data/calibration_pairs.json, which `--record` measures anew, with MLX on this machine. The
second table takes all models for one kind, so that each learns from all others, which is harder
than what happens: there only `tiny` and `short` are alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx

from pytest_yourai.core.config import LoraConfig, StepPlan, minimum_memory_bytes
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import trial, weights
from pytest_yourai.worker.engine.adapters import BaseModel
from pytest_yourai.worker.protocol import StepSample, TrialEvent, TrialRequest

from _common import ROOT, table, verdict

sys.path.insert(0, str(ROOT / "tests"))
from support.calibration_orders import (
    MeasuredModel,
    RunErrors,
    read_models,
    run_in_order,
    write_models,
)
from support.models import SMALL_QWEN2, TINY

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "tiny": TINY,
    "short": {**TINY, "num_hidden_layers": 2, "intermediate_size": 192, "vocab_size": 1000},
    "qwen2": SMALL_QWEN2,
    "gemma2": {
        **TINY,
        "model_type": "gemma2",
        "hidden_size": 96,
        "num_hidden_layers": 6,
        "intermediate_size": 384,
        "head_dim": 32,
        "vocab_size": 4000,
    },
    "phi3": {
        **TINY,
        "model_type": "phi3",
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "vocab_size": 1000,
    },
}

CONFIGS = tuple(
    LoraConfig(batch, rank, layers, 64, checkpoint)
    for checkpoint in (False, True)
    for batch, rank, layers in itertools.product((1, 2, 4), (8, 32), (2, 4))
    if not checkpoint or batch != 2
)


def measure(architecture: Mapping[str, Any]) -> MeasuredModel:
    source = ModelSource("m", architecture, None, True, None, ("qkvo",))
    found = weights.inspect(source)
    model = weights.load(source)
    base = BaseModel(model, source, found.lora_keys, mx.get_active_memory())
    plan = StepPlan(measured_steps=1, warmup_steps=3, max_warmup_steps=3)
    minima = []
    for config in CONFIGS:
        peaks: list[int] = []

        def note(sample: TrialEvent, peaks: list[int] = peaks) -> None:
            if isinstance(sample, StepSample):
                peaks.append(sample.peak_memory_bytes)

        request = TrialRequest(config, plan, memory_limit_bytes=1, data=None)
        # mlx-lm's own table.
        with contextlib.redirect_stdout(io.StringIO()):
            trial.run_trial(base, request, None, note)
        minima.append(minimum_memory_bytes(peaks))
    return MeasuredModel(dict(architecture), found.sizes["qkvo"], CONFIGS, tuple(minima))


def print_orders(orders: Sequence[Sequence[str]], *, one_kind: bool) -> float:
    """The largest excess over what is allowed, of any model in any of `orders`."""
    models = read_models()
    clean = {name: dict(run_in_order([name]))[name] for name in models}
    seen: dict[str, list[RunErrors]] = defaultdict(list)
    for order in orders:
        for name, errors in run_in_order(order, one_kind=one_kind):
            seen[name].append(errors)
    rows = [
        [
            name,
            f"{clean[name].mean:.2%}",
            f"{max(each.mean for each in seen[name]):.2%}",
            f"{clean[name].largest:.1%}",
            f"{max(each.largest for each in seen[name]):.1%}",
        ]
        for name in models
    ]
    table(["model", "clean mean", "worst mean", "clean largest", "worst largest"], rows)
    return max(each.excess(clean[name]) for name in models for each in seen[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--orders", type=int, default=120)
    arguments = parser.parse_args()
    if arguments.record:
        write_models({name: measure(each) for name, each in ARCHITECTURES.items()})
    every = [*itertools.permutations(ARCHITECTURES)]
    orders = random.Random(0).sample(every, min(arguments.orders, len(every)))
    again = [[name, other, name] for name, other in itertools.permutations(ARCHITECTURES, 2)]
    for one_kind in (False, True):
        for what, chosen in (("orders", orders), ("times one after another and again", again)):
            print(f"\n{len(chosen)} {what}{', all taken for one kind' if one_kind else ''}:")
            excess = print_orders(chosen, one_kind=one_kind)
            print(f"{excess:+.2%} at most over what is allowed: {verdict(excess <= 0)}")


if __name__ == "__main__":
    main()
