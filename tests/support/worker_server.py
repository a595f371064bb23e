"""Runs scripted workers in forks of a process that has imported all that they need.

`python -P worker_server.py FD PACKAGE ROOM` reads requests from a socket: one JSON object each,
with the worker's descriptors. The worker answers with its process id. It is a child of the process
that started this one, and /proc shows its own command and environment: by those it is found and
ended. The server ends with the other end of the socket.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

LONGEST_REQUEST = 1 << 16

ENGINE = "support.scripted_engine"

COMMAND_ROOM = "x" * 100
"""An argument of the server, whose command is then no shorter than that of a worker."""

ROOM_VARIABLE, ENVIRONMENT_ROOM = "YOURAI_TEST_ROOM", "x" * (LONGEST_REQUEST // 2)
"""In the environment of the server, which is then no shorter than that of a worker."""

SYSTEM_CALLS = {"x86_64": 56, "aarch64": 220}
"""The number of `clone` in Linux."""

_CLONE_PARENT = 0x8000
"""From <linux/sched.h>."""


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    file = Path(sys.argv[2], "worker", "bootstrap.py")
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("bootstrap", file)
    assert spec is not None
    assert spec.loader is not None
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    bootstrap._import_package()
    bootstrap._take_over_path()
    serve(requests, path, bootstrap)


def serve(requests: socket.socket, path: Sequence[str], bootstrap: ModuleType) -> NoReturn:
    """Fork a worker for each request; `path` is sys.path without what the parent asks for."""
    worker = importlib.import_module("pytest_yourai.worker.__main__")
    messages = importlib.import_module("pytest_yourai.worker.messages")
    importlib.import_module(ENGINE)
    messages._reader(messages.Command)
    request, descriptors = _next_process(requests)
    pid = -1
    try:
        _become(request, descriptors)
        pid = os.getpid()
    finally:
        # Not before: who starts a process finds it as it is to be.
        requests.sendall(b"%d %d" % (request["number"], pid))
        requests.close()
    sys.path[:] = path
    bootstrap._take_over_path()
    sys.argv[:] = [str(bootstrap.__file__), *map(str, descriptors[:2])]
    worker.main()
    sys.exit()


def _next_process(requests: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns in each forked process, which still has `requests` to answer."""
    while True:
        data, descriptors, *_ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
        if not data:
            os._exit(0)
        if not _fork_beside():
            return json.loads(data), descriptors
        for each in descriptors:
            os.close(each)


def _fork_beside() -> int:
    """As os.fork, but what comes is a child of the parent of this process."""
    python, clone = ctypes.pythonapi, ctypes.PyDLL(None).syscall
    clone.restype = ctypes.c_long
    number, flags = SYSTEM_CALLS[platform.machine()], _CLONE_PARENT | signal.SIGCHLD
    python.PyOS_BeforeFork()
    pid = int(clone(*map(ctypes.c_long, (number, flags, 0, 0, 0, 0))))
    if pid:
        python.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError("the system refuses another process")
    else:
        python.PyOS_AfterFork_Child()
    return pid


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """What a process that was started on its own would be."""
    os.setsid()
    for number, each in enumerate(descriptors[2:], 1):
        os.dup2(each, number)
        os.close(each)
    for name, number in (("stdout", 1), ("stderr", 2)):
        text = os.fdopen(number, "w", 1, "utf-8", "backslashreplace", closefd=False)
        setattr(sys, name, text)
    os.chdir(request["folder"])
    for number, limits in enumerate(request["limits"]):
        resource.setrlimit(number, limits)
    os.environ.clear()
    os.environ.update(request["environment"])
    _show(request["command"], request["environment"])


def _show(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Write them where /proc reads them."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # Fields 48 to 51 of proc(5), of which the first two are cut off.
    command_start, command_end, start, end = map(int, fields[45:49])
    variables = [f"{name}={text}" for name, text in environment.items()]
    for lines, first, last in ((command, command_start, command_end), (variables, start, end)):
        data = os.fsencode("\0".join(lines)) + b"\0"
        assert len(data) <= last - first
        ctypes.memset(first, 0, last - first)
        ctypes.memmove(first, data, len(data))


if __name__ == "__main__":
    main()
