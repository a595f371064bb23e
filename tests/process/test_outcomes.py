"""Every outcome, caused for real, with its pytest result, reason and exit status."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from support.faults import Judge
from support.models import TINY, make_model
from support.processes import (
    AtTrial,
    ConfineInTrial,
    SweepResult,
    SweepRun,
    worker_processes,
)


@pytest.mark.real_engine
def test_over_budget_is_xfailed_and_prunes_what_is_no_smaller(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1, 4]\nlora_rank: [4, 8]\nlora_layers: [2]\nlora_keys: qkvo\n"
    )
    done = sweep("--yourai-max-memory", "0.005", "--yourai-force", matrix="m.yaml")
    assert done.ret == 0
    assert done.outcomes == ["ok", "ok", "over_budget", "skipped"]
    done.run.assert_outcomes(passed=2, xfailed=1, skipped=1)
    over, skipped = done.rows[2:]
    assert over["error"].startswith("needs 5.")
    assert "over the budget of 5.0 MB" in over["error"]
    assert over["peak_memory_mb"] == over["minimum_memory_mb"]
    assert over["step_times_s"] == []
    assert "no smaller than batch=4, rank=4, layers=2" in skipped["error"]
    assert done.profile["trials_run"] == 3


@pytest.mark.xdist_group("machine")
@pytest.mark.real_engine
def test_memory_that_the_kernel_refuses_is_oom_and_prunes(
    pytester: pytest.Pytester, sweep: SweepRun, small_cgroup: Path, judge: Judge
) -> None:
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1, 256, 512]\nlora_rank: [4]\nlora_layers: [2]\n"
    )
    # Else the guard might be faster than the kernel.
    done = sweep("--yourai-force", matrix="m.yaml", plugins=(ConfineInTrial(2, small_cgroup),))
    assert done.ret == 0
    judge("killed at a cgroup's memory limit", done, ["ok", "oom", "skipped"])
    assert "by the kernel for lack of memory" in done.rows[1]["error"]
    assert "failed for memory (oom)" in done.rows[2]["error"]
    done.run.assert_outcomes(passed=1, xfailed=1, skipped=1)


@pytest.mark.xdist_group("machine")
@pytest.mark.real_engine
def test_a_refused_allocation_in_the_first_step_is_oom(
    pytester: pytest.Pytester, judge: Judge
) -> None:
    # MLX's CPU allocator gives null where the address space is limited, and the process faults.
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\nmax_seq_length: [128, 16384]\n"
    )
    limited = (
        "import resource, sys, pytest; "
        "resource.setrlimit(resource.RLIMIT_AS, (3_500_000_000,) * 2); "
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    # Forced, for the first trial's measurement may predict the second over the budget.
    arguments = ["--yourai-model=tiny", "--yourai-matrix=m.yaml", "--yourai-max-memory=20"]
    options = ["--yourai-steps=2", "--yourai-force"]
    finished = pytester.run(sys.executable, "-c", limited, *arguments, *options)
    done = SweepResult(finished, pytester.path)
    judge("allocation over the address space", done, ["ok", "oom"])
    assert "SIGSEGV in step 1; " in done.rows[1]["error"]
    assert "more than there was room for" in done.rows[1]["error"]
    assert done.ret == 0


def test_where_nothing_fits_the_status_is_1_and_the_optimum_null(sweep: SweepRun) -> None:
    done = sweep("--yourai-max-memory", "0.001", "--yourai-force")
    assert done.ret == 1
    assert done.outcomes == ["over_budget", "skipped", "skipped"]
    assert done.profile["optimal_batch_size"] is None
    done.stdout.fnmatch_lines(["No configuration fits", "*1 over_budget, 2 skipped"])


def test_runxfail_turns_memory_failures_into_failures(sweep: SweepRun) -> None:
    done = sweep("--runxfail", "--yourai-max-memory", "0.004", "--yourai-force")
    assert done.ret == 1
    done.run.assert_outcomes(passed=2, failed=1)


def test_a_killed_worker_is_a_crash_and_the_next_trial_gets_a_new_one(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGSEGV@measure")
    done = sweep()
    assert done.outcomes == ["ok", "crashed", "ok"]
    assert done.ret == 1
    done.run.assert_outcomes(passed=2, failed=1)
    assert "ended by SIGSEGV in step " in done.rows[1]["error"]
    assert len(done.events("subprocess_spawned")) == 2
    assert done.events("subprocess_failed")[0]["returncode"] == -signal.SIGSEGV
    assert done.rows[1]["warmup_step_times_s"], "what was measured before is kept"
    assert worker_processes() == []


@pytest.mark.real_engine
@pytest.mark.parametrize("what", ["nan", "zero"])
def test_a_loss_of_nan_or_zero_fails(
    pytester: pytest.Pytester, sweep: SweepRun, what: str, judge: Judge
) -> None:
    folder = pytester.path / "model"
    if what == "nan":
        make_model(folder)
        _fill_with_nan(folder / "model.safetensors")
    else:
        # With one word there is nothing to predict: the cross-entropy is exactly 0.
        make_model(folder, {**TINY, "vocab_size": 1})
    done = sweep("-k", "batch1", model=str(folder))
    judge(f"{what} loss", done, ["invalid_loss"])
    assert done.ret == 1
    expected = "the loss was nan" if what == "nan" else "the loss was 0.0"
    assert expected in done.rows[0]["error"]


def _fill_with_nan(path: Path) -> None:
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)
    arrays["lm_head.weight"] = arrays["lm_head.weight"] * float("nan")
    mx.save_safetensors(str(path), arrays, {"format": "mlx"})


def test_an_exception_is_an_error_with_its_text_and_traceback(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("fail@measure")
    done = sweep()
    assert done.outcomes == ["ok", "error", "ok"]
    assert "ValueError: this was not foreseen (in step " in done.rows[1]["error"]
    done.stdout.fnmatch_lines(["*worker traceback*", "*ValueError: this was not foreseen*"])
    assert done.events("trial_complete")[1]["outcome"] == "error"


def test_failed_trials_are_rows_of_the_profile_and_journal_alike(sweep: SweepRun) -> None:
    done = sweep("--yourai-max-memory", "0.004", "--yourai-force")
    journalled = done.events("trial_complete")
    for row, event in zip(done.rows, journalled, strict=True):
        assert json.loads(json.dumps(row)) == {key: event[key] for key in row}


class RemoveInTrial(AtTrial):
    """Removes a file when the first trial begins."""

    def __init__(self, path: Path) -> None:
        super().__init__(1)
        self._path = path

    def strike(self) -> None:
        self._path.unlink()


@pytest.mark.real_engine
def test_weights_that_vanish_make_the_model_unavailable_and_prune_nothing(
    pytester: pytest.Pytester, sweep: SweepRun, judge: Judge
) -> None:
    folder = make_model(pytester.path / "model")
    plugin = RemoveInTrial(folder / "model.safetensors")
    done = sweep("-k", "batch1 or batch2", model=str(folder), plugins=(plugin,))
    judge("weights vanish", done, ["unavailable"] * 2)
    assert done.rows[0]["error"].startswith("the model is not there while loading the model (")
    assert done.ret == 1
    done.run.assert_outcomes(skipped=2)
