"""`python -m pytest` as a fork of a process that has imported it, which is warm_server.py."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from support.warm_server import LONGEST_REQUEST
from support.worker_server import COMMAND_ROOM, ENVIRONMENT_ROOM, ROOM_VARIABLE

_SERVER = Path(__file__).with_name("warm_server.py")

FIRST_ENVIRONMENT = dict(os.environ)
"""Without what single tests set, such as the mark by which one counts its processes."""


class WarmProcess:
    """Has what tests use of subprocess.Popen; it leads a session of its own.

    `streams` are the descriptors of its three standard streams. Without them its output goes to a
    file, which `communicate` gives.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[int] | None = None,
    ) -> None:
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
        }
        data = json.dumps(request).encode()
        assert len(data) < LONGEST_REQUEST
        self.returncode: int | None = None
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._report, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end, open(os.devnull, "rb") as nothing:  # noqa: PTH123
            output = self._output.fileno()
            used = streams or (nothing.fileno(), output, output)
            socket.send_fds(_server(), [data], [its_end.fileno(), *used])
        self.pid = self._number()

    def send_signal(self, sent: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, sent)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._report.settimeout(timeout)
            self.returncode = self._number()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(BlockingIOError):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What it has written, once it has ended."""
        self.wait(timeout)
        self._output.seek(0)
        return self._output.read(), None

    def close(self) -> None:
        """End it, and its group."""
        try:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()
        finally:
            self._report.close()
            self._output.close()

    def _number(self) -> int:
        # One packet each.
        data = self._report.recv(64)
        assert data, "the server of warm processes has ended"
        return int(data)


@contextmanager
def warm_pytest(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    streams: Sequence[int] | None = None,
) -> Iterator[WarmProcess]:
    process = WarmProcess(arguments, folder, environment, streams)
    try:
        yield process
    finally:
        process.close()


@functools.cache
def _server() -> socket.socket:
    """Started once for each process of tests; ends with it, since it holds the other end."""
    requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its_end:
        # Returns at once: the server is no child of this process, whose children tests look at.
        subprocess.run(
            [sys.executable, _SERVER, str(its_end.fileno()), COMMAND_ROOM],
            check=True,
            env={**FIRST_ENVIRONMENT, ROOM_VARIABLE: ENVIRONMENT_ROOM},
            pass_fds=(its_end.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    atexit.register(requests.close)
    return requests
