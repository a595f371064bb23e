"""--yourai-search=fast, and what predictions decide, in real sweeps and in replays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.processes import SweepResult, SweepRun

RECORDED = Path(__file__).resolve().parents[1] / "data" / "h200_llama8b_quick.json"


def test_the_best_score_is_found_without_running_the_rest(sweep: SweepRun) -> None:
    done = sweep("--quick", "--yourai-search", "fast", matrix=None)
    assert done.ret == 0
    best = done.profile
    assert (best["optimal_batch_size"], best["optimal_lora_rank"], best["optimal_lora_layers"]) == (
        4,
        8,
        4,
    )
    assert best["trials_run"] <= 6
    left_out = [row for row in done.rows if not row["started"]]
    assert len(left_out) == 12 - best["trials_run"]
    assert {row["outcome"] for row in left_out} == {"skipped"}
    assert all(row["error"].startswith("not needed: the best score") for row in left_out)
    done.stdout.fnmatch_lines(
        ["Search: stopped after * trial*: *", "prediction error so far: mean * over * trial*"]
    )
    assert done.events("search_stopped")
    # What was left out is counted, not listed.
    assert "not needed" not in done.text.replace("Search:", "")


def test_items_that_were_selected_are_all_that_is_searched(sweep: SweepRun) -> None:
    done = sweep("--quick", "--yourai-search", "fast", "-k", "batch1", matrix=None)
    assert {row["batch_size"] for row in done.rows} == {1}
    assert done.profile["optimal_lora_rank"] == 8
    assert done.profile["optimal_lora_layers"] == 4


@pytest.mark.nightly
def test_the_search_runs_under_xdist_too(sweep: SweepRun) -> None:
    done = sweep("--quick", "--yourai-search", "fast", "-n", "1", matrix=None, subprocess=True)
    assert done.ret == 0
    assert done.profile["throughput_score"] == 128
    assert len(done.rows) == 12
    assert done.profile["trials_run"] <= 6


def test_speed_is_searched_with_few_trials_of_a_recording(pytester: pytest.Pytester) -> None:
    done = SweepResult(
        pytester.runpytest_inprocess(
            "--yourai-replay",
            str(RECORDED),
            "--yourai-search",
            "fast",
            "--yourai-objective",
            "tokens_per_second",
        ),
        pytester.path,
    )
    rows = json.loads(RECORDED.read_text())["all_results"]
    fastest = max(row["tokens_per_second"] for row in rows)
    found = max(row["tokens_per_second"] for row in done.rows if row["success"])
    assert found >= 0.97 * fastest
    assert done.profile["trials_run"] <= 6


def test_a_prediction_alone_can_refuse_and_force_overrules_it(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    (pytester.path / "big.yaml").write_text("batch_size: [64]\nlora_rank: [8]\nlora_layers: [4]\n")
    refused = sweep("--yourai-max-memory", "0.02", matrix="big.yaml")
    assert refused.ret == 1
    [row] = refused.rows
    assert row["outcome"] == "skipped"
    assert row["error"].startswith("predicted over the budget of 20.0 MB: needs about ")
    assert not refused.events("trial_start")
    forced = sweep("--yourai-max-memory", "0.02", "--yourai-force", matrix="big.yaml")
    [row] = forced.rows
    assert row["outcome"] == "over_budget"
    assert "it was predicted to need up to" in row["warnings"][0]


def test_collect_only_shows_what_is_predicted_beside_each_id(sweep: SweepRun) -> None:
    done = sweep("--collect-only", "--yourai-max-memory", "0.003")
    done.stdout.fnmatch_lines(
        [
            "Predicted for *, before anything was measured:",
            "  tiny-batch1-rank4-layers2  needs about 2.? MB (± *), takes up to ?.? MB",
            "  tiny-batch4-rank4-layers2  needs about 5.? MB (± *), over the budget",
        ]
    )
    assert not done.has_profile


def test_the_best_may_be_among_the_tests_of_another_file(pytester: pytest.Pytester) -> None:
    test = "def test_it(trial, benchmark):\n    assert trial.success\n"
    pytester.makepyfile(test_a=test, test_b=test)
    pytester.runpytest_inprocess(
        "test_a.py",
        "test_b.py",
        "--yourai-replay",
        str(RECORDED),
        "--yourai-search",
        "fast",
        "-k",
        "(test_a and batch1) or (test_b and batch4)",
    )
    profile = json.loads((pytester.path / "optimal_config.json").read_text())
    assert profile["optimal_batch_size"] == 4
    assert profile["optimal_lora_rank"] == 128
    left = [each for each in profile["all_results"] if each["batch_size"] == 1]
    assert all("of another file or class" in each["error"] for each in left)


def test_what_is_kept_teaches_the_machine_once(sweep: SweepRun, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "pytest-yourai" / "calibration.json"
    sweep()
    once = kept.read_text()
    resumed = sweep("--yourai-resume")
    assert all(row["kept"] for row in resumed.rows)
    assert kept.read_text() == once
