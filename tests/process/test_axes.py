"""Sequence length and checkpointing as axes of a real sweep, from ids to profile and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import SweepRun


@pytest.fixture
def axes(small_matrix: Path) -> None:
    small_matrix.write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"
        "max_seq_length: [16, 32]\ngrad_checkpoint: [false, true]\n"
    )


@pytest.mark.real_engine
@pytest.mark.usefixtures("axes")
def test_a_sweep_measures_names_and_resumes_each_combination(sweep: SweepRun) -> None:
    done = sweep()
    assert done.ret == 0
    named = [(row["max_seq_length"], row["grad_checkpoint"]) for row in done.rows]
    assert named == [(16, True), (16, False), (32, True), (32, False)]
    done.stdout.fnmatch_lines(
        [
            "[[]1/4] batch=1, rank=4, layers=2, seq=16, checkpoint=on ... ✓ *",
            "[[]4/4] batch=1, rank=4, layers=2, seq=32, checkpoint=off ... ✓ *",
            "  Sequence:      32",
            "  Checkpointing: *",
            "Configurations that fit, best first",
            "*batch  rank  layers  seq  ckpt  tokens/s *",
            "> the fastest batch size of its rank × layers × sequence × checkpointing",
        ]
    )
    needs = {
        (row["max_seq_length"], row["grad_checkpoint"]): row["minimum_memory_bytes"]
        for row in done.rows
    }
    assert needs[16, True] < needs[16, False] < needs[32, False]
    assert needs[32, True] < needs[32, False]
    for row in done.rows:
        assert 0.75 < row["predicted_minimum_memory_bytes"] / row["minimum_memory_bytes"] < 1.25
    profile = done.profile
    assert profile["settings"]["max_seq_length"] == [16, 32]
    assert profile["settings"]["grad_checkpoint"] == [False, True]
    assert profile["optimal_max_seq_length"] == 32

    more = sweep("--yourai-resume", "--yourai-seq-length", "48,32,32")
    kept = [(row["max_seq_length"], row["kept"]) for row in more.rows]
    assert kept == [(32, True), (32, True), (48, False), (48, False)]
    assert more.profile["settings"]["max_seq_length"] == [32, 48]


def test_an_effective_batch_size_is_measured_in_whole_cycles(
    small_matrix: Path, sweep: SweepRun
) -> None:
    small_matrix.write_text("batch_size: [1, 2, 3, 4]\nlora_rank: [4]\nlora_layers: [2]\n")
    done = sweep("--yourai-effective-batch-size", "4", steps=3)
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        [
            "[[]1/4] batch=1, *accumulation=4 ... ✓ *ms/step, *s/update ± *",
            "*skipped: not valid for an effective batch size of 4, which is not a multiple of 3; *",
            "*tokens/s *a step *update*",
        ]
    )
    rows = {row["batch_size"]: row for row in done.rows}
    steps = {batch: row["grad_accumulation_steps"] for batch, row in rows.items()}
    assert steps == {1: 4, 2: 2, 3: 1, 4: 1}
    assert (rows[3]["outcome"], rows[3]["skip_reason"]) == ("skipped", "invalid")
    for batch, measured in ((1, 4), (2, 4), (4, 3)):
        row, count = rows[batch], steps[batch]
        assert len(row["step_times_s"]) == measured
        assert len(row["warmup_step_times_s"]) % count == 0
        assert row["update_time_ms"] == pytest.approx(count * row["step_time_ms"], rel=1e-3)
        assert row["tokens_per_second"] == pytest.approx(
            batch * count * 63 / row["update_time_s"], rel=1e-6
        )
        # Other steps of a cycle need less than the one that updates.
        assert row["minimum_memory_bytes"] == pytest.approx(
            row["predicted_minimum_memory_bytes"], rel=0.001
        )


@pytest.mark.usefixtures("axes")
def test_the_flag_fixes_checkpointing_and_predictions_know_the_axes(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    done = sweep("--collect-only", "--yourai-max-memory", "0.0019", "--yourai-grad-checkpoint")
    done.stdout.fnmatch_lines(
        [
            "  tiny-batch1-rank4-layers2-seq16-ckpt  needs about 1.? MB (± *), takes up to ?.? MB",
            "  tiny-batch1-rank4-layers2-seq32-ckpt  needs about 1.? MB (± *), takes up to ?.? MB",
        ]
    )
    pytester.makeini("[pytest]\nyourai_grad_checkpoint = false\nyourai_seq_length = 64, 16\n")
    done = sweep("--collect-only", "-q")
    assert [line.partition("layers2")[2] for line in done.stdout.lines if "::" in line] == [
        "-seq16]",
        "]",
    ]
