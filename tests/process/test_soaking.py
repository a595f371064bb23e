"""The winner of a sweep trains on; what does not last is replaced by the next best."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from support.processes import (
    SweepResult,
    SweepRun,
    finish,
    is_gone,
    profile,
    start_sweep,
    wait_for,
    worker_of,
    worker_pids,
)

ONE = "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"


def leaves_nothing(done: SweepResult) -> bool:
    workers = [event["pid"] for event in done.events("subprocess_spawned")]
    folders = list(Path(tempfile.gettempdir()).glob("yourai-soak-*"))
    return not folders and not any(psutil.pid_exists(pid) for pid in workers)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.mark.real_engine
def test_the_best_configuration_trains_on_and_is_shown(sweep: SweepRun) -> None:
    done = sweep("--yourai-soak", "0.05")
    assert done.ret == 0
    done.run.assert_outcomes(passed=4)
    assert done.outcomes == ["ok"] * 3
    [soak] = done.profile["soak"]
    assert (soak["batch_size"], soak["outcome"], soak["asked_minutes"]) == (4, "ok", 0.05)
    assert 0.05 <= soak["minutes"] < 2
    assert soak["steps"] > 3
    if soak["steps"] >= 7:  # a slope takes five steps after the two that compile
        assert soak["active_growth_mb_per_step"] == pytest.approx(0, abs=0.1)
    # The same memory as was promised, under the same limit.
    assert soak["peak_memory_mb"] == pytest.approx(soak["trial_peak_memory_mb"], rel=0.05)
    assert done.profile["optimal_batch_size"] == 4
    done.stdout.fnmatch_lines(
        [
            "[[]3/3] batch=4*",
            "Soak: batch=4, rank=4, layers=2 for 3 s",
            "Soak: batch=4, rank=4, layers=2 ... ✓ * s, * steps, peak * (trial *), memory *",
            "*est configuration that fits",
        ]
    )
    assert [event["outcome"] for event in done.events("soak_complete")] == ["ok"]
    assert leaves_nothing(done)


def test_one_that_fails_is_replaced_by_the_next_best_in_another_process_too(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGKILL@train")
    done = sweep("--yourai-soak", "0.01", "-n", "1", subprocess=True)
    assert done.ret == 0
    done.run.assert_outcomes(passed=4)
    failed, survivor = done.profile["soak"]
    assert (failed["batch_size"], failed["outcome"]) == (4, "crashed")
    assert failed["error"].startswith("the worker was ended by SIGKILL in step 2")
    assert (survivor["batch_size"], survivor["outcome"]) == (2, "ok")
    # Measured, and no answer.
    assert done.outcomes == ["ok"] * 3
    assert done.profile["optimal_batch_size"] == 2
    assert done.profile["optimal_for"]["score"]["batch_size"] == 2
    assert all(found["batch_size"] != 4 for found in done.profile["pareto"])
    done.stdout.fnmatch_lines(
        [
            "Soak: batch=4, rank=4, layers=2 ... ✗ crashed: *",
            "Soak: batch=2, rank=4, layers=2 ... ✓ *",
            "  Batch size:    2",
        ]
    )


def test_where_none_lasts_there_is_no_answer(
    pytester: pytest.Pytester, sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    (pytester.path / "one.yaml").write_text(ONE)
    faulty_worker("leak@train")
    done = sweep("--yourai-soak", "1", "--yourai-max-memory", "0.3", matrix="one.yaml")
    assert done.ret == 1
    done.run.assert_outcomes(passed=1, xfailed=1)
    [soak] = done.profile["soak"]
    assert (soak["outcome"], soak["conclusive"]) == ("over_budget", True)
    assert "MLX held more than the budget of 300.0 MB in step" in soak["error"]
    assert soak["minutes"] < 0.9
    assert done.profile["optimal_batch_size"] is None
    done.stdout.fnmatch_lines(
        ["Soak: * ✗ over budget: MLX held more than *", "No configuration survived its soak"]
    )
    assert leaves_nothing(done)


def test_ctrl_c_in_a_soak_keeps_the_sweep(tmp_path: Path) -> None:
    with start_sweep(tmp_path, "--yourai-soak=10", "--yourai-steps=2", matrix=ONE) as running:
        # The soak's worker is the second one.
        wait_for(lambda: len(worker_pids(tmp_path)) == 2)
        time.sleep(0.5)
        worker = worker_of(tmp_path)
        running.send_signal(signal.SIGINT)
        output = finish(running)
    assert running.returncode == pytest.ExitCode.INTERRUPTED
    assert is_gone(worker)
    assert "configuration that fits\n" in output
    found = profile(tmp_path)
    assert (found["complete"], found["soak"]) == (True, None)
