"""Does a reused worker measure what a fresh one does, and does the budget change the minimum?

python tests/performance/reuse.py [--model NAME] [--repetitions 5] [--matrix FILE] [--max-memory GB]

First table: minimum and peak memory of every configuration from a reused and from a fresh worker.
Second: the minimum of each, repeated under a wide budget and under one 10 % above it.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.paths import matrices_folder, packaged_models
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.guard import Guard
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.matrix import combinations, read_matrix
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.sweep.model_sweep import Sweep
from pytest_yourai.sweep.start import start_sweep
from pytest_yourai.sweep.trial_runner import TrialRecord, run_trial

from _common import spread, table, verdict


def make_plan(arguments: argparse.Namespace) -> SweepPlan:
    model = resolve(
        arguments.model,
        Path(arguments.model),
        "auto",
        read_presets(packaged_models()),
    )
    preset = model.preset
    name = (preset and preset.defaults.quick_matrix) or "quick"
    matrix = read_matrix(arguments.matrix or matrices_folder() / f"{name}.yaml")
    length = (preset and preset.defaults.max_seq_length) or 512
    axes = {"lora_keys": ("qkvo",), **matrix.axes, "max_seq_length": (length,)}
    configs = combinations(axes, model.depth, matrix, None)
    return SweepPlan(
        source=ModelSource(
            name=model.name,
            architecture=model.architecture,
            folder=None,
            synthetic=True,
            quantization=model.quantization(None),
            lora_keys=axes["lora_keys"],
        ),
        configs=tuple(configs),
        steps=StepPlan(measured_steps=arguments.steps),
        isolation="model",
        data=None,
        recipe=MLX_LM_DEFAULTS,
        memory_limit_bytes=round(arguments.max_memory * 1e9) if arguments.max_memory else None,
        start_timeout_s=300,
        settings=SweepSettings(),
        identity={},
    )


def measure_again(sweep: Sweep, config: LoraConfig) -> TrialResult:
    """A new measurement: what the sweep knows would be returned, or would dominate."""
    sweep.results.clear()
    return sweep.measure(config)


def compare_workers(plan: SweepPlan) -> list[TrialResult]:
    reused = start_sweep(plan, TaggedLog())
    fresh = start_sweep(dataclasses.replace(plan, isolation="trial"), TaggedLog())
    tolerance = 0.03 if reused.context.device.backend == "cpu" else 0.01
    rows, results = [], []
    for config in plan.configs:
        first, second = measure_again(reused, config), measure_again(fresh, config)
        minima = (first.minimum_memory_bytes or 0, second.minimum_memory_bytes or 0)
        peaks = (first.peak_memory_bytes or 0, second.peak_memory_bytes or 0)
        off = (abs(minima[0] / minima[1] - 1), abs(peaks[0] / peaks[1] - 1))
        rows.append(
            [str(config)]
            + [f"{value / 1e6:.3f}" for value in (*minima, *peaks)]
            + [f"{value:.2%}" for value in off]
            + [verdict(off[0] <= tolerance and off[1] <= 0.01)]
        )
        results.append(first)
    table(
        ["configuration", "min reused MB", "min fresh", "peak reused", "peak fresh"]
        + ["min off", "peak off", f"min {tolerance:.0%}, peak 1%"],
        rows,
    )
    reused.close(complete=True)
    fresh.close(complete=True)
    return results


def compare_budgets(plan: SweepPlan, known: list[TrialResult], repetitions: int) -> None:
    # A budget 10 % above the minimum is under what a device holds besides: the guard only warns.
    sweep = start_sweep(dataclasses.replace(plan, force=True), TaggedLog())
    tolerance = 0.03 if sweep.context.device.backend == "cpu" else 0.005
    rows = []
    for result in known:
        narrow_bytes = round((result.minimum_memory_bytes or 0) * 1.10)
        budgets = {"wide": sweep.context.budget.limit_bytes, "narrow": narrow_bytes}
        minima: dict[str, list[int]] = {name: [] for name in budgets}
        for _ in range(repetitions):
            for name, limit_bytes in budgets.items():
                guard = Guard(limit_bytes, forced=True)
                record = TrialRecord(plan.source.name, result.config, plan.steps, guard)
                again = run_trial(sweep.plan, sweep._host, record)
                minima[name].append(again.minimum_memory_bytes or 0)
        together = spread(minima["wide"] + minima["narrow"])
        rows.append(
            [str(result.config)]
            + [f"{statistics.median(values) / 1e6:.3f}" for values in minima.values()]
            + [f"{spread(values):.2%}" for values in minima.values()]
            + [f"{together:.2%}", verdict(together <= tolerance)]
        )
    table(
        ["configuration", "min wide MB", "min narrow", "spread wide", "spread narrow"]
        + ["spread of all", f"{tolerance:.1%}"],
        rows,
    )
    sweep.close(complete=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--matrix", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--max-memory", type=float)
    arguments = parser.parse_args()
    plan = make_plan(arguments)
    known = compare_workers(plan)
    compare_budgets(plan, known, arguments.repetitions)


if __name__ == "__main__":
    main()
