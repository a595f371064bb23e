"""A worker that dies, hangs, babbles or lies, at each point of its life: the sweep goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from support.faults import Judge
from support.processes import AtTrial, SweepRun, worker_processes

Fault = Callable[[str], None]

SITES = {
    "load": "while loading the model",
    "warmup": "in step ",
    "measure": "in step ",
}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("site", SITES)
def test_a_death_is_a_crash_and_says_where(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge, name: str, site: str
) -> None:
    faulty_worker(f"{name}@{site}")
    done = sweep()
    expected = ["crashed", "ok", "ok"] if site == "load" else ["ok", "crashed", "ok"]
    judge(f"worker {name} in {site}", done, expected)
    assert f"ended by {name} {SITES[site]}" in done.rows[expected.index("crashed")]["error"]
    assert done.ret == 1
    if name == "SIGSEGV":
        done.stdout.fnmatch_lines(["*worker stderr*", "*Fatal Python error: Segmentation fault*"])


@pytest.mark.real_engine
@pytest.mark.usefixtures("too_hopeful")
def test_a_crash_within_a_budget_that_mlx_uses_up_is_a_crash(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    # Measured steps take what the budget allows: being near it proves nothing once a trial fits.
    faulty_worker("SIGSEGV@measure")
    done = sweep("--yourai-max-memory", "0.0055", steps=3)
    judge("worker SIGSEGV near a narrow budget", done, ["ok", "crashed", "over_budget"])


@pytest.mark.parametrize("site", SITES)
def test_a_stop_is_a_timeout_and_says_where(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge, site: str
) -> None:
    faulty_worker(f"SIGSTOP@{site}")
    done = sweep("--yourai-timeout", "8")
    expected = ["timeout", "ok", "ok"] if site == "load" else ["ok", "timeout", "ok"]
    judge(f"worker SIGSTOP in {site}", done, expected)
    row = done.rows[expected.index("timeout")]
    assert row["error"].startswith(f"no end after 8 s, {SITES[site]}")


class SignalBetweenTrials(AtTrial):
    """Signals the worker before the trial is given to it, and waits until that has worked."""

    def __init__(self, number: int, sent: signal.Signals) -> None:
        super().__init__(number)
        self._sent = sent

    def strike(self) -> None:
        for worker in worker_processes():
            os.kill(worker.pid, self._sent)
            while worker.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
                pass


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGSTOP"])
def test_what_happens_between_trials_is_blamed_on_no_trial(
    sweep: SweepRun, judge: Judge, name: str
) -> None:
    done = sweep(plugins=(SignalBetweenTrials(2, signal.Signals[name]),))
    judge(f"worker {name} between trials", done, ["ok", "ok", "ok"])
    [failed] = done.events("subprocess_failed")
    assert failed["reason"].startswith("before the trial began: the worker ")
    assert done.ret == 0


def test_a_quiet_hang_is_reported_with_its_python_stack(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("hang@measure")
    done = sweep("--yourai-timeout", "8", steps=4)
    judge("worker hangs without output", done, ["ok", "timeout", "ok"])
    assert done.rows[1]["error"].startswith("no end after 8 s, in step ")
    assert done.rows[1]["step_times_s"], "what was measured before is kept"
    done.stdout.fnmatch_lines(["*worker stderr*", "*worker_faults.py*in hang*", "*in run_trial*"])
    assert "in hang" in done.events("trial_complete")[1]["stderr_preview"]


def test_megabytes_of_garbage_on_its_output_are_not_taken_for_a_message(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("print_megabytes@measure")
    judge("garbage, 10 MB on stdout and stderr", sweep(), ["ok", "ok", "ok"])


def test_a_malformed_message_is_an_error(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("malformed_message@measure")
    done = sweep(steps=3)
    judge("malformed message", done, ["ok", "error", "ok"])
    assert "not a message" in done.rows[1]["error"]


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("stopped_clock", "step_time_s = 0.0"),
        ("time_without_a_number", "step_time_s = nan"),
        ("negative_memory", "peak_memory_bytes = -1000000000"),
        ("overflown_memory", "peak_memory_bytes = 1" + "0" * 40),
    ],
)
def test_a_figure_that_cannot_be_is_an_error_that_names_it(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge, fault: str, shown: str
) -> None:
    faulty_worker(f"{fault}@measure")
    done = sweep(steps=3)
    judge("impossible figure from the worker", done, ["ok", "error", "ok"])
    assert done.rows[1]["error"].startswith(f"the worker sent a StepSample with {shown}, which ")
    assert "Traceback" not in done.text


def test_a_truncated_message_is_a_crash(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("truncated_message@measure")
    judge("truncated message", sweep(steps=3), ["ok", "crashed", "ok"])


def test_a_late_message_is_left_out(sweep: SweepRun, faulty_worker: Fault, judge: Judge) -> None:
    faulty_worker("late_message@measure")
    done = sweep(steps=3)
    judge("late message", done, ["ok", "ok", "ok"])
    assert len(done.rows[1]["step_times_s"]) == 3
    assert max(done.rows[1]["step_times_s"]) < 900


def test_a_full_disk_in_the_worker_is_not_taken_for_lack_of_memory(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("fill_the_disk@warmup")
    done = sweep()
    judge("full disk in the worker", done, ["ok", "error", "ok"])
    assert done.rows[1]["error"].startswith("the disk is full in step ")


@pytest.mark.real_engine
def test_a_leak_is_shown_in_its_line_and_in_the_profile(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    faulty_worker("leak@measure")
    done = sweep(steps=6)
    judge("leak of 60 MB a step", done, ["ok", "ok", "ok"])
    clean, leaking, _ = done.rows
    assert leaking["active_growth_mb_per_step"] == pytest.approx(60, abs=2)
    assert leaking["footprint_growth_mb_per_step"] == pytest.approx(60, abs=8)
    assert [text.partition(" grew by 60")[0] for text in leaking["warnings"]][:1] == [
        "MLX's active memory"
    ]
    assert "grew by 60.0 MB a step: something leaks" in done.text
    assert abs(clean["active_growth_mb_per_step"]) < 1
    assert clean["warnings"] == []
    assert "memory was not back at base" in str(done.events("subprocess_failed"))
