"""`--yourai-resume`: what was measured is kept, what crashed the machine is not tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import faults
from support.faults import Judgement, processes_left
from support.processes import (
    SweepRun,
    events,
    outcomes,
    profile,
    start_sweep,
    wait_for,
    worker_pids,
)

LONG = "batch_size: [1, 2, 128]\nlora_rank: [4]\nlora_layers: [2]\n"


def kept(folder: Path) -> list[bool]:
    return [row["kept"] for row in profile(folder)["all_results"]]


def kill_in_trial(folder: Path, number: int, *arguments: str) -> None:
    """Kill a sweep in the trial of that number, counted over all sweeps of the folder."""
    with start_sweep(folder, "--yourai-steps=2", *arguments, matrix=LONG) as running:
        wait_for(lambda: len(events(folder, "trial_start")) == number)
        running.kill()
        running.communicate()


def resume(sweep: SweepRun, matrix: str = LONG) -> str:
    """The output of a sweep that goes on, with steps that take no time."""
    Path("m.yaml").write_text(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOURAI_TEST_STEP_S", "0.01")
        return sweep("--yourai-resume", matrix="m.yaml").text


def test_a_killed_sweep_goes_on_where_it_was(
    pytester: pytest.Pytester, sweep: SweepRun, record_property: Callable[[str, object], None]
) -> None:
    kill_in_trial(pytester.path, 3)
    before = events(pytester.path, "trial_complete")
    output = resume(sweep)
    assert "Note: 2 results are kept from benchmark_log.jsonl" in output
    assert "✓" in output
    assert output.count("(kept)") == 2
    assert kept(pytester.path) == [True, True, False]
    for row, event in zip(profile(pytester.path)["all_results"], before, strict=False):
        assert row["step_times_s"] == event["step_times_s"]
        assert row["minimum_memory_bytes"] == event["minimum_memory_bytes"]
    assert len(events(pytester.path, "trial_start")) == 4, "the third alone was run again"
    assert len(events(pytester.path, "trial_kept")) == 2
    lost = len(before) - sum(kept(pytester.path))
    faults.report(
        record_property,
        Judgement(
            "pytest SIGKILL in a trial, then resume",
            outcomes(pytester.path) == ["ok", "ok", "ok"],
            lost,
            processes_left(worker_pids(pytester.path)),
        ),
    )


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "benchmark_log.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        change(event)
        del event["crc32"]
    path.write_text("".join(json.dumps(event) + "\n" for event in found))


def test_what_ran_when_the_machine_went_down_is_marked_and_prunes(
    pytester: pytest.Pytester, sweep: SweepRun, record_property: Callable[[str, object], None]
) -> None:
    kill_in_trial(pytester.path, 3)

    def before_the_last_boot(event: dict[str, Any]) -> None:
        if event["event"] == "benchmark_start":
            event["boot_id"] = "the boot before this one"

    rewrite(pytester.path, before_the_last_boot)
    output = resume(sweep)
    assert "✗ machine crash: the machine went down, or was restarted" in output
    assert kept(pytester.path) == [True, True, False]
    assert len(events(pytester.path, "trial_start")) == 3, "nothing was run"
    faults.report(
        record_property,
        Judgement(
            "machine restarted in a trial, then resume",
            outcomes(pytester.path) == ["ok", "ok", "machine_crash"],
            2 - sum(kept(pytester.path)),
            0,
        ),
    )
    # It stays marked, and a larger one is skipped.
    larger = LONG.replace("128]", "128, 256]")
    resume(sweep, larger)
    assert outcomes(pytester.path) == ["ok", "ok", "machine_crash", "skipped"]
    assert kept(pytester.path) == [True, True, True, False]


def test_killed_twice_in_one_trial_it_is_not_run_a_third_time(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    kill_in_trial(pytester.path, 3)
    kill_in_trial(pytester.path, 4, "--yourai-resume")
    output = resume(sweep)
    assert outcomes(pytester.path) == ["ok", "ok", "crashed"]
    assert "pytest was killed in it twice" in output


def test_a_finished_sweep_is_not_run_again(sweep: SweepRun) -> None:
    first = sweep()
    again = sweep("--yourai-resume")
    assert [row["step_times_s"] for row in again.rows] == [
        row["step_times_s"] for row in first.rows
    ]
    assert all(row["kept"] for row in again.rows)
    assert again.profile["optimal_batch_size"] == first.profile["optimal_batch_size"]
    assert again.ret == 0
    again.run.assert_outcomes(passed=3)


def test_other_settings_are_measured_anew(sweep: SweepRun) -> None:
    sweep()
    again = sweep("--yourai-resume", steps=3)
    assert [row["kept"] for row in again.rows] == [False] * 3
    again.stdout.fnmatch_lines(["Note: benchmark_log.jsonl has nothing of this model*"])


def test_unreadable_lines_are_skipped_and_counted(
    sweep: SweepRun, pytester: pytest.Pytester
) -> None:
    sweep()
    path = pytester.path / "benchmark_log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    torn = next(i for i, line in enumerate(lines) if b'"trial_complete"' in line)
    lines[torn] = lines[torn][:100] + b"\n\xff\x00\n"
    path.write_bytes(b"".join(lines))
    again = sweep("--yourai-resume")
    assert [row["kept"] for row in again.rows] == [False, True, True]
    again.stdout.fnmatch_lines(
        [
            "Note: 2 results are kept from benchmark_log.jsonl",
            "Note: 2 unreadable lines of benchmark_log.jsonl were skipped",
        ]
    )
