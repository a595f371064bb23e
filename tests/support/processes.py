"""Sweeps, in this process or in one of their own, and their worker processes."""

from __future__ import annotations

import abc
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest

from support import worker_faults
from support.warm import WarmProcess, warm_pytest

TESTS = Path(__file__).parents[1]

MATRIX = "batch_size: [1, 2, 4]\nlora_rank: [4]\nlora_layers: [2]\nlora_keys: qkvo\n"


def put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the processes that are started find modules in `folder`."""
    earlier = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{earlier}" if earlier else str(folder))


@contextmanager
def started(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    **streams: Any,
) -> Iterator[subprocess.Popen[str]]:
    """A process that signals end, however the tests were started; with it goes its group."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        preexec_fn=heed_signals,  # noqa: PLW1509 - it takes no lock
        **({"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | streams),
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def heed_signals() -> None:
    """What a background job or nohup ignores, its children ignore too."""
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


Running = subprocess.Popen[str] | WarmProcess


@contextmanager
def start_sweep(
    folder: Path,
    *arguments: str,
    matrix: str = MATRIX,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A sweep of tiny in `folder`, warnings being errors; it ends with the context."""
    (folder / "m.yaml").write_text(matrix)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = ["--yourai-model=tiny", "--yourai-matrix=m.yaml", *arguments]
    with started_pytest(command, folder, {**os.environ, **(environment or {})}) as process:
        yield process


@contextmanager
def started_pytest(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    streams: tuple[int, int, int] | None = None,
) -> Iterator[Running]:
    """`python -m pytest` in a session of its own, which ends with the context.

    `environment` is the whole one, and `streams` are where its input comes from, and its output
    and its errors go to; `finish` gives what it prints without them.
    """
    if sys.platform == "linux":
        with warm_pytest(arguments, folder, environment or os.environ, streams) as process:
            yield process
        return
    names = dict(zip(("stdin", "stdout", "stderr"), streams or (), strict=False))
    command = [sys.executable, "-m", "pytest", *arguments]
    with started(command, folder, environment, **names) as cold:
        yield cold


def run_pytest(folder: Path, *arguments: str) -> pytest.RunResult:
    """As `pytester.runpytest_subprocess`: what is in `folder` can be imported."""
    entries = filter(None, (str(folder), os.environ.get("PYTHONPATH")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entries)}
    start = time.monotonic()
    with ExitStack() as opened:
        nothing, *files = (opened.enter_context(TemporaryFile("w+")) for _ in range(3))
        streams = (nothing.fileno(), files[0].fileno(), files[1].fileno())
        command = (f"--basetemp={folder / 'basetemp'}", *arguments)
        with started_pytest(command, folder, environment, streams) as process:
            status = process.wait()
        for file in files:
            file.seek(0)
        output, errors = (file.read().splitlines() for file in files)
    return pytest.RunResult(status, output, errors, time.monotonic() - start)


def finish(process: Running, timeout_s: float = 300) -> str:
    """Its whole output, once it has ended."""
    output, _ = process.communicate(timeout=timeout_s)
    return output


def wait_for(condition: Callable[[], object], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / "benchmark_log.jsonl"
    if not path.exists():
        return []
    whole_lines = path.read_text().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole_lines]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in journal(folder) if event["event"] == name]


def profile(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "optimal_config.json").read_text())
    return found


def outcomes(folder: Path) -> list[str]:
    return [row["outcome"] for row in profile(folder)["all_results"]]


def worker_pids(folder: Path) -> set[int]:
    return {event["pid"] for event in events(folder, "subprocess_spawned")}


def worker_of(folder: Path) -> psutil.Process:
    return psutil.Process(events(folder, "subprocess_spawned")[-1]["pid"])


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


SweepRun = Callable[..., "SweepResult"]


class SweepResult:
    """A finished pytest run: its output, and the files it left."""

    def __init__(self, result: pytest.RunResult, folder: Path) -> None:
        self.run = result
        self.ret = int(result.ret)
        self.stdout = result.stdout
        self.text = result.stdout.str()
        self.errors = result.stderr.str()
        self._folder = folder

    @property
    def profile(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "optimal_config.json").read_text())
        return found

    @property
    def benchmark(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "benchmark_results.json").read_text())
        return found

    @property
    def has_profile(self) -> bool:
        return (self._folder / "optimal_config.json").exists()

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.profile["all_results"]
        return rows

    @property
    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows]

    @property
    def journal(self) -> list[dict[str, Any]]:
        text = (self._folder / "benchmark_log.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.journal if event["event"] == name]


def own_children(*, recursive: bool = False) -> list[psutil.Process]:
    """This process's, without the server that its warm workers come from."""
    children = psutil.Process().children(recursive=recursive)
    return [each for each in children if not _is_server(each)]


def _is_server(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.ZombieProcess):
        return any("worker_server.py" in part for part in process.cmdline())
    return False


def worker_processes() -> list[psutil.Process]:
    """This process's workers that live."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        and any("pytest_yourai/worker" in part for part in child.cmdline())
    ]


class AtTrial(abc.ABC):
    """A pytest plugin that does something when the `number`th trial begins."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._seen = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        self._seen += 1
        if self._seen == self._number:
            self.strike()
        return (yield)

    @abc.abstractmethod
    def strike(self) -> None: ...


@contextmanager
def held_worker() -> Iterator[None]:
    """Begins once the fault `hold` has stopped the worker, which goes on when this ends."""
    wait_for(Path(os.environ[worker_faults.DONE_VARIABLE]).exists)
    try:
        yield
    finally:
        Path(os.environ[worker_faults.RELEASE_VARIABLE]).touch()


def confine(cgroup: Path) -> None:
    """Move the workers into a cgroup, which is charged with what they allocate from then on."""
    workers = worker_processes()
    assert workers, "no worker has started yet"
    for worker in workers:
        (cgroup / "cgroup.procs").write_text(str(worker.pid))


class ConfineInTrial(AtTrial):
    """Moves the worker into a cgroup, which is charged with what it allocates from then on."""

    def __init__(self, number: int, cgroup: Path) -> None:
        super().__init__(number)
        self._cgroup = cgroup

    def strike(self) -> None:
        confine(self._cgroup)
