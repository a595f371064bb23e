"""`mlx.launch` as a process, which starts the agents of a group."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence

from pytest_yourai.core.errors import ConnectError
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.machine.launch import without_a_place
from pytest_yourai.worker.process import BOOTSTRAP, engine_command, worker_environment
from pytest_yourai.worker.tail import Tail
from pytest_yourai.worker.watched_process import WatchedProcess

_AGENT = "worker.ranks.agent"

_FIRST_PORT, _PAST_PORTS = 20_000, 32_000
"""Where free ports are looked for: below those that systems give to outgoing connections."""


class Launcher:
    """A running `mlx.launch`, whose agents will connect to `address`, and get `token`.

    ConnectError where it cannot be started.
    """

    def __init__(self, group: HostGroup, address: tuple[str, int], token: str) -> None:
        command = launch_command(group, address, free_ports(group.world_size + 1))
        self.tail = Tail()
        # What the user set for NCCL or the ring is for the ranks.
        environment = worker_environment(without_a_place(os.environ), joins_a_group=True)
        try:
            self._process = WatchedProcess(
                command, environment, stdin=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as problem:
            raise ConnectError(
                f"mlx.launch cannot be started ({problem}): end processes, or start it later"
            ) from problem
        self._popen = self._process.popen
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin_fd, token.encode() + b"\n")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output_fd(self) -> int:
        """Where what it and the agents print is read; their workers' output goes another way."""
        assert self._popen.stdout is not None  # noqa: S101 - it is a pipe
        return self._popen.stdout.fileno()

    def read(self, size: int) -> bytes:
        """What it printed, once there is something; empty at the end."""
        return os.read(self.output_fd, size)

    @property
    def _stdin_fd(self) -> int:
        assert self._popen.stdin is not None  # noqa: S101 - it is a pipe
        return self._popen.stdin.fileno()

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def end(self) -> None:
        """End it, and all that it started on this machine; elsewhere ssh's end does."""
        if self._process.is_ended:
            return
        self._process.kill_group()
        self._popen.wait()
        self._process.end()


def launch_command(group: HostGroup, address: tuple[str, int], ports: Sequence[int]) -> list[str]:
    """The command of `mlx.launch` that starts an agent for each rank.

    `ports` are free: the ring takes as many as there are ranks, in a row from the first.
    """
    command = engine_command("worker.engine.mlx_launch")
    if group.hostfile is None:
        command += ["-n", str(group.world_size)]
    else:
        command += ["--hostfile", str(group.hostfile)]
    if group.backend is not None:
        command += ["--backend", group.backend.value]
    command += ["--starting-port", str(ports[0]), "--nccl-port", str(ports[-1])]
    if group.backend is DistributedBackend.MPI and os.geteuid() == 0:
        command += ["--mpi-arg=--allow-run-as-root"]
    where = "here" if group.is_here else "there"
    # The same interpreter on each host; the package is where that finds it.
    agent = [str(BOOTSTRAP)] if group.is_here else ["-m", "pytest_yourai.worker.bootstrap"]
    return [
        *command,
        "--",
        *(sys.executable, "-P", *agent, _AGENT, address[0], str(address[1]), where),
    ]


def free_ports(count: int) -> list[int]:
    """The first of a row of `count` ports that nothing listens on here. ConnectError if none is."""
    start = _FIRST_PORT + secrets.randbelow(_PAST_PORTS - _FIRST_PORT - count)
    for first in (*range(start, _PAST_PORTS - count), *range(_FIRST_PORT, start)):
        ports = list(range(first, first + count))
        if all(map(_is_free, ports)):
            return ports
    raise ConnectError(
        f"no {count} ports in a row from {_FIRST_PORT} to {_PAST_PORTS} are free: end what "
        "listens there"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True
