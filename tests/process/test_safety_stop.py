"""The guard: what takes too much is stopped, and nothing starts where too little is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_yourai.machine.cgroup import MemoryCgroup

from support.faults import Judge
from support.models import make_heavy_config
from support.processes import AtTrial, SweepRun, worker_processes

BUDGET = ("--yourai-max-memory", "0.1", "--yourai-seq-length", "512")


@pytest.fixture
def hungry(pytester: pytest.Pytester) -> str:
    """Two configurations: of some 20 MB, and of some 800 MB, which is over 0.1 GB and 0.2 GB."""
    (pytester.path / "hungry.yaml").write_text(
        "batch_size: [1, 128]\nlora_rank: [4, 8]\nlora_layers: [2]\n"
        "exclude:\n  - {batch_size: 1, lora_rank: 8}\n"
    )
    return "hungry.yaml"


@pytest.mark.xdist_group("machine")
@pytest.mark.real_engine
@pytest.mark.usefixtures("too_hopeful")
def test_a_worker_over_the_budget_is_stopped_and_larger_ones_are_skipped(
    sweep: SweepRun, hungry: str, judge: Judge
) -> None:
    done = sweep(*BUDGET, matrix=hungry)
    judge("worker grows past the budget", done, ["ok", "safety_stop", "skipped"])
    assert done.ret == 0
    done.run.assert_outcomes(passed=1, xfailed=1, skipped=1)
    error = done.rows[1]["error"]
    assert error.startswith("the guard stopped it in step 1: the worker held ")
    assert "over the budget of 100.0 MB" in error
    assert done.rows[1]["footprint_bytes"] > 300_000_000
    [stop] = done.events("safety_stop")
    assert (stop["batch_size"], stop["reason"]) == (128, error)
    assert worker_processes() == []


@pytest.fixture
def heavy(pytester: pytest.Pytester) -> str:
    return make_heavy_config(pytester.path / "heavy").name


SHORT = ("--yourai-max-memory", "0.1", "--yourai-seq-length", "4")


@pytest.mark.real_engine
@pytest.mark.usefixtures("too_hopeful")
def test_a_model_that_is_too_large_is_stopped_while_it_is_loaded(
    sweep: SweepRun, heavy: str, judge: Judge
) -> None:
    done = sweep(*SHORT, model=heavy)
    judge("model larger than the budget", done, ["safety_stop", "skipped", "skipped"])
    assert done.rows[0]["error"].startswith("the guard stopped it while loading the model: ")
    assert done.ret == 1


@pytest.mark.real_engine
def test_with_force_it_goes_on_and_the_line_says_so(sweep: SweepRun, heavy: str) -> None:
    done = sweep(*SHORT, "--yourai-force", model=heavy)
    assert done.outcomes == ["over_budget", "skipped", "skipped"]
    warning, predicted = done.rows[0]["warnings"]
    assert "it went on because of --yourai-force" in warning
    assert re.match(r"it was predicted to need up to [34]\d\d\.\d MB", predicted)
    assert f"; {warning}; {predicted}" in done.text
    assert [event["reason"] for event in done.events("warning")] == [warning, predicted]
    assert done.events("safety_stop") == []


FILL = """
import sys, time
from pathlib import Path
from pytest_yourai.machine.cgroup import MemoryCgroup

folder = Path(sys.argv[1])
Path("/proc/self/oom_score_adj").write_text("1000")
(folder / "cgroup.procs").write_text("0")
cgroup = MemoryCgroup((folder,))
held = []
while cgroup.available_bytes() > 3_500_000:
    held.append(bytearray(500_000))
print("full", flush=True)
time.sleep(600)
"""


class FillTheContainer(AtTrial):
    """Moves this process into a container that another one has filled, for one trial."""

    def __init__(self, number: int, folder: Path, home: Path) -> None:
        super().__init__(number)
        self._folder = folder
        self._home = home
        self.hog: subprocess.Popen[str] | None = None

    def strike(self) -> None:
        self.hog = subprocess.Popen(
            [sys.executable, "-c", FILL, str(self._folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hog.stdout is not None
        assert self.hog.stdout.readline() == "full\n"
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        self.leave()

    def leave(self) -> None:
        if self.hog is not None:
            (self._home / "cgroup.procs").write_text(str(os.getpid()))
            self.hog.send_signal(signal.SIGKILL)
            self.hog.communicate()
            self.hog = None


@pytest.fixture
def full_container(small_cgroup: Path) -> Iterator[FillTheContainer]:
    own = MemoryCgroup.of(os.getpid())
    assert own is not None
    plugin = FillTheContainer(2, small_cgroup, own.folders[0])
    yield plugin
    plugin.leave()


@pytest.mark.xdist_group("machine")
def test_no_trial_starts_where_too_little_is_left_and_that_prunes_nothing(
    sweep: SweepRun, full_container: FillTheContainer, judge: Judge
) -> None:
    done = sweep(plugins=(full_container,))
    judge("too little memory left before a trial", done, ["ok", "safety_stop", "ok"])
    error = done.rows[1]["error"]
    assert error.startswith("not started: ")
    assert "under the floor of 5.0 MB; close programs, or add --yourai-force" in error
    assert len(done.events("trial_start")) == 2
    assert len(done.events("safety_stop")) == 1
    ended = done.events("subprocess_failed")
    assert [event["reason"].partition(":")[0] for event in ended] == ["to free its memory"]


def test_more_than_the_machine_has_is_refused(sweep: SweepRun) -> None:
    done = sweep("--yourai-max-memory", "90000")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "--yourai-max-memory: 90000 GB is more than the " in done.errors
