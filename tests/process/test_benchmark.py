"""pytest-benchmark gets the worker's step times through its public API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.processes import SweepRun


def saved(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    return found


def test_statistics_are_those_of_the_workers_steps(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    done = sweep("--benchmark-json", "bench.json", steps=5)
    benchmarks = saved(pytester.path)["benchmarks"]
    assert len(benchmarks) == 3
    for benchmark, row in zip(benchmarks, done.rows, strict=True):
        assert benchmark["stats"]["data"] == row["step_times_s"]
        assert benchmark["stats"]["median"] == pytest.approx(row["step_time_ms"] / 1e3, rel=1e-4)
        info = benchmark["extra_info"]
        assert info["minimum_memory_bytes"] == row["minimum_memory_bytes"]
        assert info["peak_memory_bytes"] == row["peak_memory_bytes"]
        assert info["tokens_per_second"] == row["tokens_per_second"]
        assert (info["batch_size"], info["lora_rank"], info["lora_layers"]) == (
            row["batch_size"],
            row["lora_rank"],
            row["lora_layers"],
        )
    assert benchmarks[0]["name"] == "test_lora[tiny-batch1-rank4-layers2]"
    assert benchmarks[0]["params"] == {"trial": "tiny-batch1-rank4-layers2"}


def test_machine_info_has_chip_and_versions(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    sweep("--benchmark-json", "bench.json", "-k", "batch1")
    info = saved(pytester.path)["machine_info"]
    assert info["chip"]
    assert {"mlx", "mlx-lm", "pytest-yourai"} <= set(info["versions"])


def test_trials_that_are_not_ok_are_left_out_without_a_warning(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    done = replayed(
        "--benchmark-json", "bench.json", "--yourai-max-memory", "0.004", "--yourai-force"
    )
    assert done.outcomes == ["ok", "ok", "over_budget"]
    assert done.ret == 0
    assert len(saved(pytester.path)["benchmarks"]) == 2
    done.run.assert_outcomes(passed=2, xfailed=1)


def test_save_and_compare_find_the_same_names(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    first = replayed("--benchmark-save", "first", "-k", "batch1")
    assert "benchmark: 1 tests" not in first.text, "its table is not asked for"
    second = replayed("--benchmark-autosave", "--benchmark-compare", "0001", "-k", "batch1")
    second.stdout.fnmatch_lines(["*benchmark 'tiny': 2 tests*", "*tiny-batch1-rank4-layers2*"])
    assert "machine_info is different" not in second.text + second.errors
    compared = pytester.run("pytest-benchmark", "compare")
    assert compared.ret == 0
    compared.stdout.fnmatch_lines(["*tiny-batch1-rank4-layers2*0001*"])


def test_benchmark_only_and_disable_leave_the_trials_alone(replayed: SweepRun) -> None:
    assert replayed("--benchmark-only", "-k", "batch1").outcomes == ["ok"]
    assert replayed("--benchmark-disable", "-k", "batch1").outcomes == ["ok"]


def test_a_sweep_runs_without_the_plugin(replayed: SweepRun) -> None:
    # In a process of its own: the plugin cannot be taken out of this one.
    done = replayed("-p", "no:benchmark", "-k", "batch1", subprocess=True)
    assert done.ret == 0
    assert done.outcomes == ["ok"]
