"""--yourai-replay: the whole pipeline on recorded measurements, without MLX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.processes import SweepResult

RECORDED = Path(__file__).resolve().parents[1] / "data" / "h200_llama8b_quick.json"

BLOCK_MLX = """
import sys

class NoMlx:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mlx", "mlx_lm"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, NoMlx())
"""


def replay(pytester: pytest.Pytester, *arguments: str, file: Path = RECORDED) -> SweepResult:
    done = pytester.runpytest_inprocess("--yourai-replay", str(file), *arguments)
    return SweepResult(done, pytester.path)


def recorded_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(RECORDED.read_text())["all_results"]
    return rows


def foreign(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    path = folder / "foreign.json"
    path.write_text(json.dumps({"model": "somebody/else-3b", "all_results": rows, **more}))
    return path


def row(batch: int, rank: int, peak_mb: float | None, **more: Any) -> dict[str, Any]:
    return {
        "batch_size": batch,
        "lora_rank": rank,
        "lora_layers": 8,
        "peak_memory_mb": peak_mb,
        "step_time_ms": 100.0 * batch,
        "success": True,
        "error": None,
        **more,
    }


def test_a_profile_of_ours_gives_the_same_answer_again(pytester: pytest.Pytester) -> None:
    done = replay(pytester)
    assert done.ret == 0
    before = json.loads(RECORDED.read_text())
    keys = ("optimal_batch_size", "optimal_lora_rank", "optimal_lora_layers", "peak_memory_gb")
    assert [done.profile[key] for key in keys] == [before[key] for key in keys]
    assert done.profile["trials_run"] == 12
    for objective, found in before["optimal_for"].items():
        # What rows did not name then has the value that all of them had.
        assert found.items() <= done.profile["optimal_for"][objective].items()
    measured = [entry["minimum_memory_bytes"] for entry in before["all_results"]]
    assert sorted(each["minimum_memory_bytes"] for each in done.rows) == sorted(measured)
    done.stdout.fnmatch_lines(["Note: nothing is run: measurements are those of h200_*.json"])


def test_it_needs_no_mlx_at_all(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(BLOCK_MLX)
    done = pytester.runpytest_subprocess("--yourai-replay", str(RECORDED))
    assert done.ret == 0
    done.assert_outcomes(passed=12)


def test_the_budget_is_applied_to_the_recorded_minimum(pytester: pytest.Pytester) -> None:
    minima = sorted(entry["minimum_memory_bytes"] for entry in recorded_rows())
    limit_gb = minima[5] * 1.15 / 1e9 + 0.001
    done = replay(pytester, "--yourai-max-memory", f"{limit_gb:.4f}", "--yourai-force")
    fitting = {each["minimum_memory_bytes"] for each in done.rows if each["success"]}
    assert fitting == set(minima[:6])
    over = [each for each in done.rows if each["outcome"] == "over_budget"]
    assert over
    assert all(each["peak_memory_mb"] == each["minimum_memory_mb"] for each in over)
    assert all("over the budget of" in each["error"] for each in over)


def test_a_configuration_that_was_not_recorded_is_skipped_as_such(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1, 3]\nlora_rank: [64]\nlora_layers: [16]\n"
    )
    done = replay(pytester, "--yourai-matrix", "m.yaml")
    by_batch = {each["batch_size"]: each for each in done.rows}
    assert by_batch[1]["outcome"] == "ok"
    assert by_batch[3]["outcome"] == "skipped"
    assert by_batch[3]["error"] == (
        "h200_llama8b_quick.json has no such configuration; measure it without --yourai-replay"
    )
    assert done.profile["trials_run"] == 1


def test_foreign_rows_with_failures_replay(pytester: pytest.Pytester) -> None:
    rows = [
        row(1, 8, 1000.0),
        row(2, 8, 3000.0),
        row(4, 8, 2000.0),
        row(1, 16, None, success=False, error="segmentation fault", outcome="crashed"),
    ]
    file = foreign(pytester.path, rows)
    done = replay(pytester, "--yourai-max-memory", "2.5", file=file)
    assert done.ret == 1
    # Peaks without a limit are not monotone: batch 4 is judged by its own.
    outcomes = {(each["batch_size"], each["lora_rank"]): each["outcome"] for each in done.rows}
    assert outcomes == {
        (1, 8): "ok",
        (2, 8): "over_budget",
        (4, 8): "ok",
        (1, 16): "crashed",
    }
    done.stdout.fnmatch_lines(["Note: foreign.json has no minimum memory: its peaks stand in*"])
    assert done.profile["model"] == "somebody-else-3b"


def test_several_sequence_lengths_get_ids_of_their_own(pytester: pytest.Pytester) -> None:
    rows = [row(1, 8, 1000.0, max_seq_length=length) for length in (128, 256, 512)]
    file = foreign(pytester.path, rows)
    done = pytester.runpytest_inprocess("--yourai-replay", str(file), "--collect-only", "-q")
    done.stdout.fnmatch_lines(
        [
            "*somebody-else-3b-batch1-rank8-layers8-seq128*",
            "*somebody-else-3b-batch1-rank8-layers8-seq256*",
            "*somebody-else-3b-batch1-rank8-layers8]",
        ]
    )


def test_recorded_lengths_and_checkpointing_replay_as_axes(pytester: pytest.Pytester) -> None:
    failed: dict[str, Any] = {"success": False, "error": "out of memory", "step_time_ms": None}
    rows = [
        row(1, 8, 1000.0, max_seq_length=256, grad_checkpoint=True),
        row(1, 8, 2000.0, max_seq_length=256),
        row(2, 8, None, max_seq_length=256, **failed),
        row(2, 8, 1500.0, max_seq_length=256, grad_checkpoint=True),
        row(2, 8, 4000.0, max_seq_length=512),
        row(1, 8, 1200.0, max_seq_length=512, grad_checkpoint=True),
    ]
    for each in rows:
        each["minimum_memory_mb"] = each["peak_memory_mb"]
    file = foreign(pytester.path, rows)
    done = replay(pytester, "--yourai-max-memory", "9", "-v", file=file)
    smaller = "batch=2, rank=8, layers=8, seq=256, checkpoint=off"
    done.stdout.fnmatch_lines(
        [
            f"*seq=512, checkpoint=off ... - skipped: no smaller than {smaller}, which failed *",
            "  Sequence:      512",
            "  Checkpointing: on",
        ]
    )
    assert done.profile["settings"]["max_seq_length"] == [256, 512]
    fast = replay(pytester, "--yourai-max-memory", "9", "--yourai-search", "fast", file=file)
    for key in ("optimal_batch_size", "optimal_max_seq_length", "optimal_grad_checkpoint"):
        assert fast.profile[key] == done.profile[key]
    chosen = replay(pytester, "--yourai-seq-length", "512", "--yourai-grad-checkpoint", file=file)
    [only] = chosen.rows
    assert (only["max_seq_length"], only["grad_checkpoint"]) == (512, True)
    assert "seq=" not in chosen.text


def test_a_recording_of_another_model_is_refused(pytester: pytest.Pytester) -> None:
    done = replay(pytester, "--yourai-model", "hermes-70b")
    assert done.ret == 4
    assert "is of llama-8b, not of hermes-70b" in done.errors


def test_a_file_that_is_not_a_recording_is_refused(pytester: pytest.Pytester) -> None:
    (pytester.path / "broken.json").write_text('{"model": "llama-8b"}')
    done = replay(pytester, file=pytester.path / "broken.json")
    assert done.ret == 4
    assert "all_results: it must be a list of measured rows" in done.errors


@pytest.mark.parametrize("written", ["output", "log"])
def test_a_recording_is_never_written_over(pytester: pytest.Pytester, written: str) -> None:
    file = pytester.path / "mine.json"
    file.write_bytes(RECORDED.read_bytes())
    done = replay(pytester, f"--yourai-{written}", "mine.json", file=file)
    assert done.ret == 4
    assert f"--yourai-{written}: {file} is read for --yourai-replay" in done.errors
    assert file.read_bytes() == RECORDED.read_bytes()


def test_what_a_recording_did_not_run_does_not_count_as_a_trial(pytester: pytest.Pytester) -> None:
    first = replay(pytester, "--yourai-search", "fast", "--yourai-output", "first.json")
    assert first.ret == 0
    again = replay(pytester, file=pytester.path / "first.json")
    rows = again.rows
    assert all(each["outcome"] == "ok" for each in rows)
    assert again.profile["trials_run"] == len(rows) < 12


def test_peaks_stay_peaks_in_a_replay_of_a_replay(pytester: pytest.Pytester) -> None:
    file = foreign(pytester.path, [row(1, 8, 1000.0), row(2, 8, 3000.0), row(4, 8, 2000.0)])
    replay(pytester, "--yourai-max-memory", "9", "--yourai-output", "again.json", file=file)
    again = pytester.path / "again.json"
    done = replay(pytester, "--yourai-max-memory", "2.5", file=again)
    assert [each["outcome"] for each in done.rows] == ["ok", "over_budget", "ok"]
    done.stdout.fnmatch_lines(["Note: again.json has no minimum memory*"])


def test_a_length_that_was_not_recorded_is_refused(pytester: pytest.Pytester) -> None:
    done = replay(pytester, "--yourai-seq-length", "128")
    assert done.ret == 4
    assert "--yourai-seq-length: h200_llama8b_quick.json was recorded with 512" in done.errors


def test_there_is_nothing_to_resume(pytester: pytest.Pytester) -> None:
    done = replay(pytester, "--yourai-resume")
    assert done.ret == 4
    assert "--yourai-resume: a replay measures nothing" in done.errors


def test_a_search_among_too_many_is_refused(pytester: pytest.Pytester) -> None:
    rows = [row(batch, rank, 1000.0) for batch in range(1, 41) for rank in range(1, 31)]
    file = foreign(pytester.path, rows)
    done = replay(pytester, "--yourai-search", "fast", file=file)
    assert done.ret == 4
    assert "1,200 configurations are more than 1,000" in done.errors
