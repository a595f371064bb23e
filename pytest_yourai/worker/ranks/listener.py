"""Listens on one interface, takes exactly the ranks of a group, and closes."""

from __future__ import annotations

import secrets
import selectors
import socket
import time
from dataclasses import dataclass

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.worker.ranks import wire

_HELLO_TIMEOUT_S = 5.0

_LONGEST_HELLO_BYTES = 1 << 16

_ANY_PORT = 9


@dataclass(frozen=True)
class Rank:
    """A rank that has connected, and said who it is."""

    connection: socket.socket
    hello: wire.Hello


class Listener:
    """Listens from its construction on, until it is closed or all ranks were taken.

    `token` is what each rank must say. OSError where no port can be had.
    """

    def __init__(self, group: HostGroup) -> None:
        self.token = secrets.token_hex(16)
        self._world_size = group.world_size
        self._socket = socket.create_server((own_address(group), 0), backlog=group.world_size)
        self._ranks: dict[int, Rank] = {}

    @property
    def address(self) -> tuple[str, int]:
        name, port = self._socket.getsockname()[:2]
        return str(name), int(port)

    @property
    def missing(self) -> list[int]:
        """The ranks that have not connected yet."""
        return [rank for rank in range(self._world_size) if rank not in self._ranks]

    def accept_one(self, wait_s: float) -> None:
        """Wait for a connection, and take it in if it is a rank's that is missing."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            if not selector.select(wait_s):
                return
        connection, _ = self._socket.accept()
        try:
            hello = _read_hello(connection)
        except (OSError, WorkerError):
            connection.close()
            return
        is_one = secrets.compare_digest(hello.token.encode(), self.token.encode())
        if is_one and hello.rank in self.missing:
            self._ranks[hello.rank] = Rank(connection, hello)
        else:
            connection.close()

    def take(self) -> list[Rank]:
        """All ranks, in order; nobody else is let in."""
        self._socket.close()
        ranks, self._ranks = self._ranks, {}
        return [ranks[number] for number in sorted(ranks)]

    def close(self) -> None:
        """Close it, and the connections that were not taken."""
        for rank in self.take():
            rank.connection.close()


def own_address(group: HostGroup) -> str:
    """The address by which the hosts of `group` reach this machine; loopback for ranks here."""
    elsewhere = [ip for host in group.hosts for ip in host.ips if not ip.startswith("127.")]
    if group.is_here or not elsewhere:
        return "127.0.0.1"
    family = socket.AF_INET6 if ":" in elsewhere[-1] else socket.AF_INET
    # Sends nothing: it only asks the system for the way there.
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect((elsewhere[-1], _ANY_PORT))
        return str(way.getsockname()[0])


def _read_hello(connection: socket.socket) -> wire.Hello:
    """WorkerError where something else comes, or nothing in time."""
    end = time.monotonic() + _HELLO_TIMEOUT_S
    data = b""
    while b"\n" not in data:
        left_s = end - time.monotonic()
        if left_s <= 0 or len(data) > _LONGEST_HELLO_BYTES:
            raise WorkerError("what connected did not say which rank it is")
        connection.settimeout(left_s)
        # One byte too many would be the first of the next line.
        piece = connection.recv(1)
        if not piece:
            raise WorkerError("what connected has closed the connection")
        data += piece
    connection.settimeout(None)
    message = wire.decode(wire.FromAgent, data[1:-1]) if data[:1] == wire.AGENT else None
    if not isinstance(message, wire.Hello):
        raise WorkerError("what connected did not say which rank it is")
    return message
