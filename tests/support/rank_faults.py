"""A sweep whose ranks run on two hosts, and what is done to the second of them at a moment of it.

Three configurations of tiny, with batches of 2, 4 and 8: what is done strikes the second.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from support import processes, worker_faults
from support.hosts import Host, Hosts, own_variables

BATCHES = (2, 4, 8)

STRUCK = 4

SITES = {
    "joining": "join",
    "loading": "load",
    "compiling": "compile",
    "warm-up": "warmup",
    "measuring": "measure",
    "the last step": "end",
}
"""Moments at which the worker on the second host is held, by where the engine holds it."""

STARTS = ("before connecting", "launching", "connecting", "joining", "loading")
"""Moments in the life of a group: each trial has one of its own."""

MATRIX = "batch_size: [2, 4, 8]\nlora_rank: [4]\nlora_layers: [2]\nlora_keys: qkvo\n"

_ENGINE = "support.scripted_engine:ScriptedEngine"

_CHECKOUT = Path(__file__).parents[2]

_MOST_S = 240.0

_LEFT_AFTER_S = 3.0


def engine_variables(engine: str | None = _ENGINE) -> dict[str, str]:
    """The environment in which every process finds the checkout, and each worker `engine`."""
    path = os.pathsep.join(map(str, (_CHECKOUT, _CHECKOUT / "tests")))
    chosen = {} if engine is None else {"YOURAI_TEST_ENGINE": engine}
    kept = own_variables("PYTHONPYCACHEPREFIX", "LD_PRELOAD")
    return {"PYTHONPATH": path, **chosen, **kept}


@dataclass(frozen=True)
class RankSweep:
    """pytest on the desk, and the moment at which something will be done."""

    hosts: Hosts
    folder: Path
    moment: str
    process: subprocess.Popen[str]
    kind: str
    """What a worker of the second host suffers by itself, as `worker_faults` knows it."""

    @property
    def second(self) -> Host:
        return self.hosts.hosts[1]

    def completed(self) -> list[int]:
        """The batches of the trials that have ended."""
        return [event["batch_size"] for event in processes.events(self.folder, "trial_complete")]

    def await_moment(self) -> None:
        """Wait until it has come."""
        if self.moment in STARTS:
            self._wait(lambda: self.completed() == [BATCHES[0]])
        if self.moment in SITES:
            if self.moment in STARTS:
                self.give_fault()
            self._wait((self.folder / "fault-done").exists)
        elif self.moment == "launching":
            self._wait(lambda: self.find("mlx_launch", self.hosts.desk))
        elif self.moment == "connecting":
            self._wait(lambda: self.find("worker.ranks.agent"))
        elif self.moment == "between trials":
            self._wait(self.completed)
        elif self.moment == "after the last trial":
            self._wait(lambda: self.completed() == [*BATCHES])

    def find(self, part: str, host: Host | None = None) -> list[psutil.Process]:
        """Processes of a host, by default the second, with this in their command."""
        found = []
        for process in (host or self.second).processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if part in " ".join(process.cmdline()) and process.name() != "bash":
                    found.append(process)
        return found

    def await_struck(self) -> None:
        """Wait until the trial that was struck has ended, or all have."""
        self._wait(lambda: STRUCK in self.completed() or self.process.poll() is not None)

    def release(self) -> None:
        """Let a worker that is held go on."""
        (self.folder / "fault-released").touch()

    def finish(self) -> str:
        """The output, once pytest has ended."""
        return processes.finish(self.process, _MOST_S)

    def left(self, *hosts: Host) -> list[str]:
        """What still runs on these hosts, by default on all, 3 s after this was asked."""
        end = time.monotonic() + _LEFT_AFTER_S
        asked = hosts or (self.hosts.desk, *self.hosts.hosts)
        while left := [process for host in asked for process in host.processes()]:
            if time.monotonic() > end:
                return [" ".join(process.cmdline()) for process in left]
            time.sleep(0.05)
        return []

    def give_fault(self) -> None:
        """Let the next worker on the second host suffer it, in the trial that is to be struck."""
        given = {
            worker_faults.VARIABLE: f"{self.kind}@{SITES.get(self.moment, 'measure')}",
            worker_faults.BATCH_VARIABLE: str(STRUCK),
            worker_faults.DONE_VARIABLE: str(self.folder / "fault-done"),
            worker_faults.RELEASE_VARIABLE: str(self.folder / "fault-released"),
        }
        self.hosts.give(self.second, **given)

    def _wait(self, condition: Callable[[], object]) -> None:
        processes.wait_for(lambda: condition() or self.process.poll() is not None, _MOST_S)


@contextlib.contextmanager
def started_sweep(
    hosts: Hosts, folder: Path, moment: str, *arguments: str, kind: str = "hold"
) -> Iterator[RankSweep]:
    """A sweep from the desk, whose second host's worker suffers `kind` at that moment.

    Where that is none of `SITES`, at the first measured step.
    """
    folder.mkdir()
    (folder / "m.yaml").write_text(MATRIX)
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--yourai-model=tiny", "--yourai-matrix=m.yaml", "--yourai-steps=3"]
    command += [f"--yourai-hosts={hosts.hostfile}", *arguments]
    if moment in STARTS:
        command.append("--yourai-isolation=trial")
    environment = {**hosts.environment, **hosts.variables, "XDG_CACHE_HOME": str(folder / "cache")}
    there = hosts.desk.command(*command, folder=folder)
    with processes.started(there, folder, environment, stdin=subprocess.DEVNULL) as process:
        sweep = RankSweep(hosts, folder, moment, process, kind)
        if moment not in STARTS and (moment in SITES or kind != "hold"):
            sweep.give_fault()
        yield sweep
    hosts.give(hosts.hosts[1])
