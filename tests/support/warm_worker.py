"""Scripted workers as forks of a process that has imported them, which is worker_server.py."""

from __future__ import annotations

import atexit
import functools
import inspect
import itertools
import json
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_yourai.core.paths import PACKAGE
from pytest_yourai.core.worker_variables import TEST_ENGINE
from pytest_yourai.worker.process import BOOTSTRAP, worker_environment

from support import worker_server
from support.warm import FIRST_ENVIRONMENT

IS_POSSIBLE = sys.platform == "linux" and platform.machine() in worker_server.SYSTEM_CALLS

_SERVER = Path(__file__).with_name("worker_server.py")

_READ_AT_THE_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "GLIBC_", "MALLOC_")
"""The beginnings of names of variables that a process reads as it starts."""

_LONGEST_START_S = 120

_LIMITS = range(16)
"""All of Linux."""

_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
"""As CPython names the ends of the three pipes."""


class _WarmWorker(subprocess.Popen[bytes]):
    """A child of this process as any other, but that the server behind `requests` starts it."""

    _NAMES = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]

    def __init__(
        self, requests: socket.socket, number: int, command: Sequence[str], **how: Any
    ) -> None:
        self._requests, self._number = requests, number
        super().__init__(command, **how)

    def _execute_child(self, *arguments: Any) -> None:
        """What CPython calls with all that it has prepared, its pipes among it."""
        given = self._NAMES.bind(self, *arguments).arguments
        request = {
            "number": self._number,
            "command": given["args"],
            "environment": dict(given["env"]),
            "folder": str(Path.cwd()),
            "limits": [resource.getrlimit(each) for each in _LIMITS],
        }
        data = json.dumps(request).encode()
        assert len(data) < len(worker_server.ENVIRONMENT_ROOM)
        descriptors = [*given["pass_fds"], given["c2pwrite"], given["errwrite"]]
        try:
            socket.send_fds(self._requests, [data], descriptors)
            self.pid = self._answer()
        finally:
            self._close_pipe_fds(*(given[each] for each in _PIPES))  # type: ignore[attr-defined]
        self._child_created = True

    def _answer(self) -> int:
        """Its process id, once it is what it was asked to be."""
        while True:
            # One that an interruption kept from being read may come first.
            number, pid = map(int, self._requests.recv(64).split())
            if number == self._number:
                assert pid > 0, "the server's fork did not become a worker"
                return pid


class WarmSubprocess(SimpleNamespace):
    """What stands for the module `subprocess` where workers are started.

    A scripted worker comes from the server behind `requests`, unless it would inherit what that
    has not. The server is a child of this process.
    """

    PIPE = subprocess.PIPE
    DEVNULL = subprocess.DEVNULL

    def __init__(self, requests: socket.socket) -> None:
        # Of one that ended before it could answer a test fails, and does not hang.
        requests.settimeout(_LONGEST_START_S)
        self._requests = requests
        self._numbers = itertools.count()
        self._cgroups = _cgroups()
        self._read_at_the_start = _at_the_start(worker_environment(FIRST_ENVIRONMENT))

    def Popen(self, command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:  # noqa: N802
        environment: Mapping[str, str] = how.get("env", {})
        if (
            str(BOOTSTRAP) in command
            and is_scripted(environment)
            and _cgroups() == self._cgroups
            and _at_the_start(environment) == self._read_at_the_start
        ):
            return _WarmWorker(self._requests, next(self._numbers), command, **how)
        return subprocess.Popen(command, **how)


def is_scripted(environment: Mapping[str, str]) -> bool:
    """True where a worker with this environment answers from a script."""
    return environment.get(TEST_ENGINE, "").startswith(f"{worker_server.ENGINE}:")


@functools.cache
def warm_subprocess() -> WarmSubprocess:
    """Its server is started once for each process of tests, and ends with it."""
    requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tests = str(_SERVER.parents[1])
    room = {worker_server.ROOM_VARIABLE: worker_server.ENVIRONMENT_ROOM}
    command = [sys.executable, "-P", str(_SERVER), str(its_end.fileno()), str(PACKAGE)]
    with its_end:
        server = subprocess.Popen(
            [*command, worker_server.COMMAND_ROOM],
            env=worker_environment({**FIRST_ENVIRONMENT, "PYTHONPATH": tests})
            | {TEST_ENGINE: worker_server.ENGINE, **room},
            pass_fds=(its_end.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def close() -> None:
        requests.close()
        server.wait()

    atexit.register(close)
    return WarmSubprocess(requests)


def _cgroups() -> str:
    return Path("/proc/self/cgroup").read_text(encoding="ascii")


def _at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_READ_AT_THE_START)}
