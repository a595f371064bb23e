"""A worker that dies, hangs, babbles or lies, at each point of its life: the sweep goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import worker_faults
from support.faults import Judge
from support.processes import (
    TESTS,
    AtTrial,
    SweepResult,
    SweepRun,
    put_on_path,
    run_pytest,
    worker_processes,
)

Fault = Callable[[str], None]

STEPS = 3

SITES = {
    "load": "while loading the model",
    "warmup": "in step ",
    "measure": "in step ",
}

IMPOSSIBLE = {
    "stopped_clock": "step_time_s = 0.0",
    "time_without_a_number": "step_time_s = nan",
    "negative_memory": "peak_memory_bytes = -1000000000",
    "overflown_memory": "peak_memory_bytes = 1" + "0" * 40,
}

GARBAGE, LATE = "print_megabytes@measure", "late_message@measure"

# What ends a worker is first, for each suffers one fault; and of these what strikes as it loads.
BREAKING = {
    **{f"{name}@{site}": "crashed" for site in SITES for name in ("SIGKILL", "SIGSEGV")},
    "malformed_message@measure": "error",
    **{f"{fault}@measure": "error" for fault in IMPOSSIBLE},
    "truncated_message@measure": "crashed",
    GARBAGE: "ok",
}

HANGING = {
    **{f"SIGSTOP@{site}": "timeout" for site in SITES},
    "hang@measure": "timeout",
    "fill_the_disk@warmup": "error",
    LATE: "ok",
}


@dataclass(frozen=True)
class Faulty:
    """A sweep in which each trial suffers one of the faults, and the last one none."""

    done: SweepResult
    outcomes: Mapping[str, str]

    def row(self, fault: str) -> dict[str, Any]:
        return self.done.rows[list(self.outcomes).index(fault)]

    @property
    def expected(self) -> list[str]:
        return [*self.outcomes.values(), "ok"]


def run_faulty(faults: Mapping[str, str], folder: Path, engine: str, *arguments: str) -> Faulty:
    sizes = list(range(1, len(faults) + 2))
    (folder / "m.yaml").write_text(f"batch_size: {sizes}\nlora_rank: [4]\nlora_layers: [2]\n")
    command = ("--yourai-model=tiny", "--yourai-matrix=m.yaml", f"--yourai-steps={STEPS}")
    with pytest.MonkeyPatch.context() as patch:
        put_on_path(patch, TESTS)
        patch.setenv("YOURAI_TEST_ENGINE", engine)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        named = " ".join(f"{fault}:{size}" for fault, size in zip(faults, sizes, strict=False))
        patch.setenv(worker_faults.VARIABLE, named)
        patch.setenv(worker_faults.DONE_VARIABLE, str(folder / "fault-done"))
        done = run_pytest(folder, *command, *arguments)
    return Faulty(SweepResult(done, folder), faults)


@pytest.fixture(scope="module")
def engine(pytestconfig: pytest.Config) -> str:
    is_real = pytestconfig.getoption("--real-engine")
    return (
        f"support.{'faulty_engine:faulty_engine' if is_real else 'scripted_engine:ScriptedEngine'}"
    )


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Faulty:
    return run_faulty(BREAKING, tmp_path_factory.mktemp("breaking"), engine)


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Faulty:
    return run_faulty(HANGING, tmp_path_factory.mktemp("hanging"), engine, "--yourai-timeout=8")


@pytest.mark.xdist_group("breaking workers")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("site", SITES)
def test_a_death_is_a_crash_and_says_where(
    breaking: Faulty, judge: Judge, name: str, site: str
) -> None:
    judge(f"worker {name} in {site}", breaking.done, breaking.expected)
    assert f"ended by {name} {SITES[site]}" in breaking.row(f"{name}@{site}")["error"]
    assert breaking.done.ret == 1
    if name == "SIGSEGV":
        shown = breaking.done.stdout
        shown.fnmatch_lines(["*worker stderr*", "*Fatal Python error: Segmentation fault*"])


@pytest.mark.real_engine
@pytest.mark.usefixtures("too_hopeful")
def test_a_crash_within_a_budget_that_mlx_uses_up_is_a_crash(
    sweep: SweepRun, faulty_worker: Fault, judge: Judge
) -> None:
    # Measured steps take what the budget allows: being near it proves nothing once a trial fits.
    faulty_worker("SIGSEGV@measure")
    done = sweep("--yourai-max-memory", "0.0055", steps=3)
    judge("worker SIGSEGV near a narrow budget", done, ["ok", "crashed", "over_budget"])


@pytest.mark.xdist_group("hanging workers")
@pytest.mark.parametrize("site", SITES)
def test_a_stop_is_a_timeout_and_says_where(hanging: Faulty, judge: Judge, site: str) -> None:
    judge(f"worker SIGSTOP in {site}", hanging.done, hanging.expected)
    assert hanging.row(f"SIGSTOP@{site}")["error"].startswith(f"no end after 8 s, {SITES[site]}")


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


@pytest.mark.xdist_group("hanging workers")
def test_a_quiet_hang_is_reported_with_its_python_stack(hanging: Faulty, judge: Judge) -> None:
    judge("worker hangs without output", hanging.done, hanging.expected)
    row = hanging.row("hang@measure")
    assert row["error"].startswith("no end after 8 s, in step ")
    assert row["step_times_s"], "what was measured before is kept"
    hanging.done.stdout.fnmatch_lines(
        ["*worker stderr*", "*worker_faults.py*in hang*", "*in run_trial*"]
    )
    completed = hanging.done.events("trial_complete")
    [event] = [each for each in completed if each["batch_size"] == row["batch_size"]]
    assert "in hang" in event["stderr_preview"]


@pytest.mark.xdist_group("breaking workers")
def test_megabytes_of_garbage_on_its_output_are_not_taken_for_a_message(
    breaking: Faulty, judge: Judge
) -> None:
    judge("garbage, 10 MB on stdout and stderr", breaking.done, breaking.expected)


@pytest.mark.xdist_group("breaking workers")
def test_a_malformed_message_is_an_error(breaking: Faulty, judge: Judge) -> None:
    judge("malformed message", breaking.done, breaking.expected)
    assert "not a message" in breaking.row("malformed_message@measure")["error"]


@pytest.mark.xdist_group("breaking workers")
@pytest.mark.parametrize(("fault", "shown"), IMPOSSIBLE.items())
def test_a_figure_that_cannot_be_is_an_error_that_names_it(
    breaking: Faulty, judge: Judge, fault: str, shown: str
) -> None:
    judge("impossible figure from the worker", breaking.done, breaking.expected)
    error = breaking.row(f"{fault}@measure")["error"]
    assert error.startswith(f"the worker sent a StepSample with {shown}, which ")
    assert "Traceback" not in breaking.done.text


@pytest.mark.xdist_group("breaking workers")
def test_a_truncated_message_is_a_crash(breaking: Faulty, judge: Judge) -> None:
    judge("truncated message", breaking.done, breaking.expected)


@pytest.mark.xdist_group("hanging workers")
def test_a_late_message_is_left_out(hanging: Faulty, judge: Judge) -> None:
    judge("late message", hanging.done, hanging.expected)
    times_s = hanging.row(LATE)["step_times_s"]
    assert len(times_s) == STEPS
    assert max(times_s) < 900


@pytest.mark.xdist_group("hanging workers")
def test_a_full_disk_in_the_worker_is_not_taken_for_lack_of_memory(
    hanging: Faulty, judge: Judge
) -> None:
    judge("full disk in the worker", hanging.done, hanging.expected)
    error = hanging.row("fill_the_disk@warmup")["error"]
    assert error.startswith("the disk is full in step ")


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
