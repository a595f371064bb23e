"""Worker processes and the pipes to them: started, ended, and one of them ahead of its use.

Imports little: a worker needs a second for its imports, and starts before its parent's own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_yourai.core import worker_variables
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.paths import PACKAGE
from pytest_yourai.machine.launch import ALONE, is_launch_variable
from pytest_yourai.worker.watched_process import WatchedProcess

BOOTSTRAP = PACKAGE / "worker" / "bootstrap.py"

_EXIT_WAIT_S = 5.0


class WorkerProcess:
    """A worker in a session and process group of its own.

    Constructing it starts the process and does not wait for it. WorkerError where the system
    refuses one. Commands are written to `command_fd`, messages read from `message_fd`. One that
    `joins_a_group` gets the variables of the launcher that started this process, and ends with it
    where this is stopped.
    """

    def __init__(self, *, joins_a_group: bool = False) -> None:
        self._surroundings = _surroundings()
        fds: list[int] = []
        try:
            for _ in range(2):
                fds += os.pipe()
            command_read, self.command_fd, self.message_fd, message_write = fds
            self._process = WatchedProcess(
                engine_command("worker.__main__", str(command_read), str(message_write)),
                worker_environment(os.environ, joins_a_group=joins_a_group),
                pass_fds=(command_read, message_write),
                is_never_stopped=joins_a_group,
            )
        except BaseException as problem:
            for fd in fds:
                os.close(fd)
            if isinstance(problem, OSError):
                raise WorkerError(f"the worker process cannot be started: {problem}") from problem
            raise
        self._popen = self._process.popen
        os.close(command_read)
        os.close(message_write)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output_fds(self) -> tuple[int, ...]:
        """The descriptors of its stdout and stderr."""
        return tuple(each.fileno() for each in (self._popen.stdout, self._popen.stderr) if each)

    @property
    def is_reaped(self) -> bool:
        """True once its status was read: its number may since belong to another process."""
        return self._popen.returncode is not None

    @property
    def is_current(self) -> bool:
        """True if a process started now would have the same environment and folder."""
        return self._surroundings == _surroundings()

    def close_commands(self) -> None:
        """Make the worker end itself, at once if it is idle."""
        if self.command_fd >= 0:
            os.close(self.command_fd)
            self.command_fd = -1

    def await_end(self) -> int:
        """Wait for its end, and kill it where that is late, and all that it leaves behind."""
        if not self.is_reaped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_EXIT_WAIT_S)
            # At once, and never again: its number may soon be that of another's group.
            self._process.kill_group()
        return self._popen.wait()

    def kill(self) -> int:
        """End it and all that it started, now. Returns its status."""
        if not self.is_reaped:
            self._process.kill_group()
        status = self.await_end()
        self._process.end()
        self.close_commands()
        if self.message_fd >= 0:
            os.close(self.message_fd)
            self.message_fd = -1
        return status


def engine_command(module: str, *arguments: str) -> list[str]:
    """The command of a process that runs `main` of a module of this package, beside MLX."""
    return [sys.executable, "-P", str(BOOTSTRAP), module, *arguments]


class WorkerStarter:
    """Starts worker processes, the first one ahead of its use if asked to."""

    def __init__(self) -> None:
        self._ahead: WorkerProcess | None = None

    def start_ahead(self) -> None:
        """Start the process that `take` will return, unless the system refuses one now."""
        with contextlib.suppress(WorkerError):
            self._ahead = WorkerProcess()

    def take(self) -> WorkerProcess:
        """A process that is the caller's to end. WorkerError where the system refuses one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if ahead.is_current:
                return ahead
            ahead.kill()
        return WorkerProcess()

    def close(self) -> None:
        """End the process that was started ahead, unless it was taken."""
        if self._ahead is not None:
            self._ahead.kill()
            self._ahead = None


def worker_environment(
    parents: Mapping[str, str], *, joins_a_group: bool = False
) -> dict[str, str]:
    """The environment of a worker: `parents`, without what would change where and what it runs.

    It finds no module of the project in place of a package, and joins no group of processes
    unless it `joins_a_group`.
    """
    environment = dict(parents)
    if not joins_a_group:
        environment = {name: text for name, text in parents.items() if not is_launch_variable(name)}
        environment |= ALONE
    if path := environment.pop("PYTHONPATH", ""):
        environment[worker_variables.PATH] = path
    return {
        **environment,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "true",
        # mlx-lm opens data in the encoding of the locale.
        "PYTHONUTF8": "1",
        # It prints symbols that a pipe in an ASCII locale would refuse.
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def _surroundings() -> tuple[int, dict[str, str]]:
    """The current folder and environment, for comparison."""
    # pytest sets its variable anew for each phase of each test.
    inherited = {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return Path().stat().st_ino, inherited
