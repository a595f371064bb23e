"""`bootstrap.py worker.ranks.agent ADDRESS PORT`: one rank's worker, guarded, on a socket.

`mlx.launch` starts it on each host, and writes the token to its stdin. It connects to the
controller, passes on what the controller and its worker say to each other, and guards the host
meanwhile. It ends its worker, and then itself, when the connection ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

import psutil

from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.errors import SafetyStopError, WorkerError
from pytest_yourai.core.redaction import redactor
from pytest_yourai.machine.environment import versions
from pytest_yourai.machine.guard import INTERVAL_S, Guard
from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.identity import files_digest
from pytest_yourai.worker import messages
from pytest_yourai.worker.lines import Lines
from pytest_yourai.worker.process import WorkerProcess
from pytest_yourai.worker.ranks import wire

_READ_SIZE = 1 << 16

_CONNECT_TIMEOUT_S = 30.0

_STOPPED_AFTER_S = 0.6
"""Seconds that a worker is stopped before its rank is given up: a debugger stops it for less."""


class Agent:
    """Relays between the controller's socket and the pipes of one worker, and guards the host."""

    def __init__(self, connection: socket.socket, worker: WorkerProcess) -> None:
        self._connection, self._worker = connection, worker
        self._from_controller, self._from_worker = Lines(), Lines()
        self._guard: Guard | None = None
        self._base_bytes = self._device_used_bytes = 0
        self._stopped_since: float | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, "controller")
        self._selector.register(worker.message_fd, selectors.EVENT_READ, "worker")
        for fd, stream in zip(worker.output_fds, ("stdout", "stderr"), strict=True):
            self._selector.register(fd, selectors.EVENT_READ, stream)

    def run(self) -> None:
        """Relay until either end ends; the worker has ended then."""
        try:
            while self._relay():
                if self._guard is not None and self._guard.due_in_s() <= 0:
                    self._look(self._guard)
                self._notice_stop()
            self._report_end()
        except SafetyStopError as stop:
            self._tell(wire.GuardStopped(str(stop), stop.is_its_own_fault))
            self._report_end()
        except (OSError, WorkerError):
            return
        finally:
            self._worker.kill()

    def _relay(self) -> bool:
        """Pass on what has come; False once either end has ended."""
        wait_s = self._guard.due_in_s() if self._guard is not None else INTERVAL_S
        for key, _ in self._selector.select(wait_s):
            if key.data == "controller":
                data = self._connection.recv(_READ_SIZE)
                if not data:
                    raise WorkerError("the controller has closed the connection")
                for line in self._from_controller.add(data):
                    self._obey(line[:1], line[1:])
                continue
            data = os.read(key.fd, _READ_SIZE)
            if not data:
                self._selector.unregister(key.fd)
                if key.data == "worker":
                    return False
            elif key.data == "worker":
                self._pass_on(self._from_worker.add(data))
            else:
                self._print(key.data, data)
        return True

    def _pass_on(self, lines: list[bytes]) -> None:
        for line in lines:
            if b'"MlxMemory"' in line:
                body = json.loads(line)["body"]
                del body["kind"]
                memory = MlxMemory(**body)
                self._device_used_bytes = memory.device_used_bytes or 0
                if self._guard is not None:
                    self._guard.note(memory)
        self._connection.sendall(b"".join(wire.WORKER + line + b"\n" for line in lines))

    def _print(self, stream: str, data: bytes) -> None:
        text = redactor()(data.decode(errors="replace"))
        self._tell(wire.Printed(**{stream: text}))

    def _obey(self, whose: bytes, line: bytes) -> None:
        if whose == wire.WORKER:
            data = memoryview(line + b"\n")
            with contextlib.suppress(BrokenPipeError):
                while data:
                    data = data[os.write(self._worker.command_fd, data) :]
            return
        match wire.decode(wire.ToAgent, line):
            case wire.ReadFiles(folder):
                self._tell(wire.FilesRead(files_digest(Path(folder))))
            case wire.Watch() as watch:
                self._watch(watch)
            case wire.Unwatch():
                self._guard = None
            case wire.PrintStacks():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._worker.pid, messages.STACK_SIGNAL)
                    os.kill(self._worker.pid, signal.SIGCONT)

    def _watch(self, watch: wire.Watch) -> None:
        if watch.is_first:
            process = read_process_memory(self._worker.pid)
            held = process.footprint_bytes if process else 0
            self._base_bytes = self._device_used_bytes if watch.has_own_memory else held
        self._guard = Guard(watch.budget_bytes, forced=watch.forced)
        self._guard.attach(self._worker.pid, self._base_bytes, has_own_memory=watch.has_own_memory)

    def _look(self, guard: Guard) -> None:
        """One look of the guard. SafetyStopError where the run must end."""
        try:
            guard.check()
        finally:
            self._tell_seen(guard)

    def _notice_stop(self) -> None:
        """WorkerError where the worker has been stopped for a while, by whomever."""
        with contextlib.suppress(psutil.Error):
            if psutil.Process(self._worker.pid).status() != psutil.STATUS_STOPPED:
                self._stopped_since = None
                return
        now = time.monotonic()
        if self._stopped_since is None:
            self._stopped_since = now
        elif now - self._stopped_since >= _STOPPED_AFTER_S:
            self._tell(wire.WorkerStopped())
            raise WorkerError("the worker was stopped")

    def _tell_seen(self, guard: Guard) -> None:
        self._tell(wire.Seen(guard.trace, tuple(guard.warnings), self._base_bytes))

    def _report_end(self) -> None:
        for fd, stream in zip(self._worker.output_fds, ("stdout", "stderr"), strict=True):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):
                while data := os.read(fd, _READ_SIZE):
                    self._print(stream, data)
        if self._guard is not None:
            self._guard.read_system()
            self._tell_seen(self._guard)
        self._tell(wire.WorkerEnded(self._worker.await_end()))

    def _tell(self, message: wire.FromAgent) -> None:
        self._connection.sendall(wire.encode(message))


def _hello(token: str) -> wire.Hello:
    memory = read_system_memory()
    return wire.Hello(
        token,
        int(os.environ.get("MLX_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))),
        os.getpid(),
        socket.gethostname(),
        versions(),
        memory.usable_bytes,
        memory.available_bytes,
    )


def _choose_gpu() -> None:
    """Give each rank of one machine a GPU of its own, which mlx.launch does for NCCL alone."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    rank = int(os.environ.get("MLX_RANK", "0"))
    listed = [each for each in devices.split(",") if each]
    if len(listed) != 1:
        chosen = listed[rank] if rank < len(listed) else str(rank)
        os.environ["CUDA_VISIBLE_DEVICES"] = chosen


def main() -> None:
    address, port, where = sys.argv[1:]
    # What the terminal of mlx.launch sends is for it; it ends this process where it wants to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    token = sys.stdin.readline().strip()
    if where == "here":
        _choose_gpu()
    with socket.create_connection((address, int(port)), timeout=_CONNECT_TIMEOUT_S) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        connection.sendall(wire.encode(_hello(token)))
        answer = connection.makefile("rb", buffering=0).readline()
        if not answer:
            sys.exit("the controller refused this rank")
        welcome = wire.decode(wire.ToAgent, answer[1:])
        wire.notice_silence(connection, welcome.silent_s)
        connection.settimeout(None)
        Agent(connection, WorkerProcess(joins_a_group=True)).run()


if __name__ == "__main__":
    main()
