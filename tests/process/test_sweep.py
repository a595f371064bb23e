"""The main job, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.processes import SweepRun, worker_processes


def test_the_quick_matrix_of_tiny_runs_to_an_optimum(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    done = sweep("--quick", matrix=None, steps=3)
    assert done.ret == 0
    done.run.assert_outcomes(passed=12)
    done.stdout.fnmatch_lines(
        [
            "Testing 12 configurations for: tiny (synthetic, not quantized)",
            "Budget: * GB (80 % of * GB)",
            "[[]1/12] batch=1, rank=4, layers=2 ... ✓ needs * MB, takes * MB, *s/step*",
            "[[]12/12] batch=4, rank=8, layers=4 ... ✓ *",
            "Largest* configuration that fits",
            "  Batch size:    4",
            "  LoRA rank:     8",
            "  LoRA layers:   4",
            "  Score:         128 (4 × 8 × 4)",
            "  Fits: needs * MB of * GB, uses up to * MB when allowed.",
            "Saved to: optimal_config.json",
        ]
    )
    assert done.profile["complete"] is True
    assert done.profile["trials_run"] == 12
    assert worker_processes() == []
    check_rows(done.rows)


def check_rows(rows: list[dict[str, Any]]) -> None:
    """Of sweeps of tiny with three measured steps."""
    check_that_minimum_memory_rises(rows)
    for row in rows:
        assert len(row["step_times_s"]) == 3
        # At least three warm-up steps, and the settling step.
        assert 4 <= len(row["warmup_step_times_s"]) <= 9
        assert row["tokens_per_second"] == pytest.approx(
            row["batch_size"] * 63 / (row["step_time_ms"] / 1e3), rel=1e-3
        )
        assert row["loss"] == pytest.approx(5.7, abs=0.5)


@pytest.mark.real_engine
def test_what_mlx_measures_rises_with_every_axis_is_predicted_and_teaches(
    pytester: pytest.Pytester, sweep: SweepRun, tmp_path: Path
) -> None:
    """One configuration, and for each axis the one that has twice as much of it."""
    (pytester.path / "axes.yaml").write_text(
        "batch_size: [1, 2]\nlora_rank: [4, 8]\nlora_layers: [2, 4]\nexclude:\n"
        "  - {batch_size: 2, lora_rank: 8}\n  - {batch_size: 2, lora_layers: 4}\n"
        "  - {lora_rank: 8, lora_layers: 4}\n"
    )
    done = sweep(matrix="axes.yaml", steps=3)
    assert done.ret == 0
    assert done.outcomes == ["ok"] * 4
    check_rows(done.rows)
    names = [event["event"] for event in done.journal]
    for place, name in enumerate(names):
        if name == "trial_start":
            assert names[place - 1] == "preflight_check"
    for check, row in zip(done.events("preflight_check"), done.rows, strict=True):
        assert check["batch_size"] == row["batch_size"]
        assert check["estimated_base_gb"] * 1e9 == 1_116_416
        assert check["estimated_minimum_gb"] * 1e9 == row["predicted_minimum_memory_bytes"]
        assert check["estimated_conservative_gb"] > check["estimated_minimum_gb"]
        assert check["available_gb"] > 0
        error = row["predicted_minimum_memory_bytes"] / row["minimum_memory_bytes"] - 1
        assert abs(error) < 0.1
    kept = json.loads((tmp_path / "cache" / "pytest-yourai" / "calibration.json").read_text())
    assert kept.pop("digest").startswith("sha256:")
    [(group, recipes)] = kept.items()
    assert group.endswith(" cpu llama 32-bit float 1e5")
    [models] = recipes.values()
    [entry] = models.values()
    assert entry["trials"] == 4
    assert set(entry["factors"]) == {"weights", "adapters", "activations", "step"}
    assert all(0.5 < factor < 2 for factor in entry["factors"].values())


def check_that_minimum_memory_rises(found: list[dict[str, Any]]) -> None:
    """With every axis; and it stays under the peak."""
    rows = {(row["batch_size"], row["lora_rank"], row["lora_layers"]): row for row in found}
    for (batch, rank, layers), row in rows.items():
        need = row["minimum_memory_bytes"]
        assert need <= row["peak_memory_bytes"] * 1.01
        for larger, least in (
            ((batch * 2, rank, layers), need * 1.2),
            ((batch, rank, layers * 2), need * 1.2),
            # Doubling these small ranks adds 2 to 3 %, which is what minima repeat to on the CPU.
            ((batch, rank * 2, layers), need * 0.97),
        ):
            if larger in rows:
                assert rows[larger]["minimum_memory_bytes"] > least


def test_journal_has_the_whole_run_of_one_worker_in_order(sweep: SweepRun) -> None:
    done = sweep()
    assert [event["event"] for event in done.journal] == [
        "benchmark_start",
        "subprocess_start",
        "subprocess_spawned",
        "model_start",
        "run_facts",
        "preflight_check",
        "trial_start",
        "model_loaded",
        "trial_complete",
        *["preflight_check", "trial_start", "trial_complete"] * 2,
        "subprocess_completed",
        "benchmark_complete",
    ]
    assert done.events("benchmark_complete")[0]["complete"] is True
    assert done.events("subprocess_completed")[0]["returncode"] == 0


def test_with_isolation_each_trial_has_a_worker_of_its_own(sweep: SweepRun) -> None:
    done = sweep("--yourai-isolation", "trial")
    assert done.ret == 0
    # The one that looks runs the first trial.
    assert len(done.events("subprocess_spawned")) == 3
    assert worker_processes() == []


def test_the_flags_reach_the_trials(sweep: SweepRun) -> None:
    done = sweep(
        *("--yourai-seq-length", "32", "--yourai-grad-checkpoint", "--yourai-warmup", "4"),
        *("--yourai-lora-keys", "self_attn.q_proj", "--yourai-objective", "tokens_per_second"),
    )
    assert done.ret == 0
    settings = done.profile["settings"]
    assert settings["lora_keys"] == ["self_attn.q_proj"]
    assert (settings["max_seq_length"], settings["grad_checkpoint"]) == (32, True)
    assert done.profile["objective"] == "tokens_per_second"
    assert all(len(row["warmup_step_times_s"]) >= 5 for row in done.rows)
    row = done.rows[0]
    assert row["tokens_per_second"] == pytest.approx(31 / (row["step_time_ms"] / 1e3), rel=1e-3)


def test_ini_keys_stand_in_for_flags(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    pytester.makeini("[pytest]\nyourai_seq_length = 32\nyourai_grad_checkpoint = true\n")
    done = sweep("--yourai-seq-length", "48")
    assert done.profile["settings"]["max_seq_length"] == 48
    assert done.profile["settings"]["grad_checkpoint"] is True


def test_paths_in_an_ini_file_are_relative_to_it(
    pytester: pytest.Pytester, replayed: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nyourai_matrix = small.yaml\nyourai_output = out.json\n")
    monkeypatch.chdir(pytester.mkdir("elsewhere"))
    done = replayed("-k", "batch1", f"--rootdir={pytester.path}", matrix=None)
    assert done.ret == 0
    assert (pytester.path / "out.json").is_file()
    assert (pytester.path / "elsewhere" / "benchmark_log.jsonl").is_file()


def test_layers_over_the_depth_become_the_depth_and_the_header_says_so(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    (pytester.path / "deep.yaml").write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2, 16, 32]\n"
    )
    done = sweep(matrix="deep.yaml")
    done.stdout.fnmatch_lines(["Note: tiny has 4 layers: 16, 32 became 4"])
    assert [row["lora_layers"] for row in done.rows] == [2, 4]
