"""What an agent and its controller say to each other, beside the lines of the agent's worker.

On a socket, one line each. Its first byte says whose it is: `w` for a line of the worker's own
wire, which is passed on as it stands, `a` for a message of the agent, as JSON.
"""

from __future__ import annotations

import functools
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.machine.guard import MemoryTrace
from pytest_yourai.worker.messages import told_apart_by_kind, with_kind

WORKER, AGENT = b"w", b"a"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of an agent: who it is, and what runs there."""

    token: str
    rank: int
    pid: int
    host: str
    versions: Mapping[str, str]
    """Of Python, MLX, mlx-lm and this package."""
    usable_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The controller has taken the rank in. Either end may be silent for `silent_s` seconds."""

    silent_s: int


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """Asks for a digest of the model's files in `folder`, answered by FilesRead."""

    folder: str


@dataclass(frozen=True, slots=True)
class FilesRead:
    """`digest` is None where there is no such folder."""

    digest: str | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A run begins: the agent guards its host until Unwatch, and reports what it sees."""

    budget_bytes: int
    forced: bool
    has_own_memory: bool
    is_first: bool
    """True where the worker holds no model yet, so that what it holds now is its base."""


@dataclass(frozen=True, slots=True)
class Unwatch:
    """The run has ended."""


@dataclass(frozen=True, slots=True)
class PrintStacks:
    """The worker is to print its Python stacks."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the guard of one host has seen of a run so far, a few times a second."""

    trace: MemoryTrace
    warnings: tuple[str, ...]
    base_bytes: int
    """What the worker held before it loaded the model; on CUDA the device's use."""


@dataclass(frozen=True, slots=True)
class GuardStopped:
    """The guard of one host ends the run, and the agent its worker."""

    danger: str
    is_its_own_fault: bool


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """The worker was stopped by a signal, and does nothing."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What the worker printed."""

    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The worker has ended, with the status of `subprocess`; the agent's last message."""

    status: int


ToAgent = Welcome | ReadFiles | Watch | Unwatch | PrintStacks

FromAgent = Hello | FilesRead | Seen | GuardStopped | WorkerStopped | Printed | WorkerEnded


def encode(message: ToAgent | FromAgent) -> bytes:
    """The line of a message."""
    return AGENT + json.dumps(with_kind(message)).encode() + b"\n"


def decode(bodies: Any, line: bytes) -> Any:
    """The message of one of `bodies`, ToAgent or FromAgent, in a line without its first byte.

    WorkerError for anything else.
    """
    try:
        return _reader(bodies).validate_json(line, strict=False)
    except pydantic.ValidationError as problem:
        why = problem.errors(include_url=False)[0]["msg"]
        raise WorkerError(f"a rank sent what is not a message ({why})") from None


@functools.cache
def _reader(bodies: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(told_apart_by_kind(bodies))


def notice_silence(connection: socket.socket, silent_s: int) -> None:
    """Let the system end a connection whose other end does not answer for `silent_s` seconds.

    That a process there is stopped, or busy, does not matter: its system answers for it.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if idle is not None:
        connection.setsockopt(socket.IPPROTO_TCP, idle, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(1, silent_s - 1))
    if sys.platform == "linux":
        # What was sent and not acknowledged: the keepalive waits for it.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silent_s * 1000)
