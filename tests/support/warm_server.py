"""Runs `python -m pytest` in forks of a process that has imported it, and the plugin, already.

`python warm_server.py FD ROOM` reads requests from a socket: one JSON object each, with a socket,
which gets the process's id and later its status, and the three streams. It ends with the other end.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

LONGEST_REQUEST = 1 << 16
_DESCRIPTORS = 4

_TESTS = str(Path(__file__).parents[1])


def main() -> None:
    if os.fork():
        os._exit(0)
    requests = socket.socket(fileno=int(sys.argv[1]))
    inherited = _path_entries(os.environ)
    _import_all()
    installed = [each for each in sys.path[1:] if each not in {*inherited, _TESTS}]
    request, descriptors = _Server(requests).next_process()
    _become(request, descriptors, installed)
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


def _import_all() -> None:
    """By a run of pytest, whose hook rewrites assertions of plugins as they are imported."""
    import pytest  # noqa: PLC0415 - here: tests import this module for its constant

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        os.chdir(folder)
        status = pytest.main(["--collect-only", "--yourai-model=tiny", "-pno:cacheprovider"])
        os.chdir("/")
    if status:
        sys.exit("the plugin collected nothing")
    package = importlib.import_module("pytest_yourai")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not any(part in module.name for part in ("worker.engine", "suite", "__main__")):
            importlib.import_module(module.name)
    for name in [each for each in sys.modules if each.startswith(package.__name__)]:
        for found in vars(sys.modules[name]).values():
            if isinstance(found, functools._lru_cache_wrapper):
                # Such as the secrets of this environment.
                found.cache_clear()
    sys.path.append(_TESTS)
    importlib.import_module("support.warm_worker")
    messages = importlib.import_module("pytest_yourai.worker.messages")
    messages._reader(messages.Message)
    # Forks neither copy all modules to look for garbage in them, nor take them apart at their end.
    gc.freeze()


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._reports: dict[int, socket.socket] = {}

    def next_process(self) -> tuple[dict[str, Any], list[int]]:
        """Returns in each forked process."""
        signal.signal(signal.SIGCHLD, self._reap)
        while True:
            data, descriptors, *_ = socket.recv_fds(self._requests, LONGEST_REQUEST, _DESCRIPTORS)
            if not data:
                os._exit(0)
            report = socket.socket(fileno=descriptors.pop(0))
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            pid = os.fork()
            if pid:
                self._reports[pid] = report
                for each in descriptors:
                    os.close(each)
            else:
                # Its group is there once who asked for it knows its number.
                os.setsid()
                report.sendall(b"%d" % os.getpid())
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (report, self._requests, *self._reports.values()):
                    end.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            if not pid:
                return json.loads(data), descriptors

    def _reap(self, _number: int, _frame: FrameType | None) -> None:
        while self._reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # Who asked for it may be gone.
            with self._reports.pop(pid) as report, suppress(OSError):
                report.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def _become(request: Mapping[str, Any], streams: Sequence[int], installed: Sequence[str]) -> None:
    """All that a new Python would find."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        # It reads HF_ENDPOINT and others as it is imported.
        importlib.reload(constants)
    _keep_workers_ready(installed)
    sys.path[:] = [request["folder"], *_path_entries(os.environ), *installed]
    sys.argv[:] = ["pytest", *request["arguments"]]
    sys.orig_argv[:] = [sys.executable, "-m", *sys.argv]
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)


def _keep_workers_ready(installed: Sequence[str]) -> None:
    """As they are now: what pytest brings with it is none of theirs."""
    from support import warm_worker, worker_server  # noqa: PLC0415 - not in the tests' process

    if not (warm_worker.IS_POSSIBLE and warm_worker.is_scripted(os.environ)):
        return
    requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        its_end.close()
        watched_process: Any = sys.modules["pytest_yourai.worker.watched_process"]
        watched_process.subprocess = warm_worker.WarmSubprocess(requests)
        return
    requests.close()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)
    sys.path[:] = [*installed, _TESTS]
    worker_server.serve(its_end, installed, sys.modules["pytest_yourai.worker.bootstrap"])


def _path_entries(environment: Mapping[str, str]) -> list[str]:
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    return [os.path.abspath(each) for each in entries if each]  # noqa: PTH100


if __name__ == "__main__":
    main()
