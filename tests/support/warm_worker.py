"""Scripted workers as forks of a process that has imported them, which is worker_server.py."""

from __future__ import annotations

import atexit
import functools
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import threading
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

_LIMITS = range(16)
"""All of Linux."""


class _WarmWorker(subprocess.Popen[bytes]):
    """A child of this process as any other, but for its start."""

    def __init__(self, command: Sequence[str], pid: int, stdout: int, stderr: int) -> None:
        self.args = list(command)
        self.pid = pid
        self.returncode = None
        self.stdin = None
        self.stdout = os.fdopen(stdout, "rb")
        self.stderr = os.fdopen(stderr, "rb")
        self._waitpid_lock = threading.Lock()
        self._child_created = True
        # Of a wait that Ctrl-C interrupts.
        self._sigint_wait_secs = 0.25


class WarmSubprocess(SimpleNamespace):
    """What stands for the module `subprocess` where workers are started.

    A scripted worker comes from the server behind `requests`, unless it would inherit what that
    has not. The server is a child of this process.
    """

    PIPE = subprocess.PIPE
    DEVNULL = subprocess.DEVNULL

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
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
            return self._fork(command, environment, how["pass_fds"])
        return subprocess.Popen(command, **how)

    def _fork(
        self, command: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int]
    ) -> _WarmWorker:
        request = {
            "command": list(command),
            "environment": dict(environment),
            "folder": str(Path.cwd()),
            "limits": [resource.getrlimit(each) for each in _LIMITS],
        }
        data = json.dumps(request).encode()
        assert len(data) < len(worker_server.ENVIRONMENT_ROOM)
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        socket.send_fds(self._requests, [data], [*pass_fds, its_out, its_err])
        os.close(its_out)
        os.close(its_err)
        return _WarmWorker(command, int(self._requests.recv(64)), out, err)


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
