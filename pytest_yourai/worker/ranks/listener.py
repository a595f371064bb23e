"""Listens on one interface, takes exactly the ranks of a group, and closes."""

from __future__ import annotations

import secrets
import selectors
import socket
import time
from dataclasses import dataclass, field

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.worker.ranks import wire

_HELLO_TIMEOUT_S = 5.0

_LONGEST_HELLO_BYTES = 1 << 16

_MOST_STRANGERS = 64
"""Connections beyond those of the ranks that may be open before they have said who they are."""

_ANY_PORT = 9


@dataclass(frozen=True)
class Rank:
    """A rank that has connected, and said who it is."""

    connection: socket.socket
    hello: wire.Hello


@dataclass
class _Caller:
    """What has connected, and has not yet said who it is."""

    connection: socket.socket
    until: float
    """When it is let go, by the monotonic clock."""
    heard: bytearray = field(default_factory=bytearray)

    def hear(self) -> wire.Hello | None:
        """Who it is; None while its line is not whole. WorkerError or OSError for anything else."""
        data = self.connection.recv(_LONGEST_HELLO_BYTES)
        self.heard += data
        if not data or len(self.heard) > _LONGEST_HELLO_BYTES:
            raise WorkerError("what connected did not say which rank it is")
        # An agent says no more until it is answered.
        if not self.heard.endswith(b"\n"):
            return None
        line = bytes(self.heard)
        message = wire.decode(wire.FromAgent, line[1:-1]) if line[:1] == wire.AGENT else None
        if not isinstance(message, wire.Hello):
            raise WorkerError("what connected did not say which rank it is")
        return message


class Listener:
    """Listens from its construction on, until it is closed or all ranks were taken.

    `token` is what each rank must say. Who says nothing keeps nobody waiting. OSError where no port
    can be had.
    """

    def __init__(self, group: HostGroup) -> None:
        self.token = secrets.token_hex(16)
        self._world_size = group.world_size
        address = own_address(group)
        self._socket = socket.create_server(
            (address, 0),
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            backlog=group.world_size + _MOST_STRANGERS,
        )
        self._socket.setblocking(False)
        self._ranks: dict[int, Rank] = {}
        self._callers: list[_Caller] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    @property
    def address(self) -> tuple[str, int]:
        name, port = self._socket.getsockname()[:2]
        return str(name), int(port)

    @property
    def missing(self) -> list[int]:
        """The ranks that have not connected yet."""
        return [rank for rank in range(self._world_size) if rank not in self._ranks]

    def accept_one(self, wait_s: float) -> None:
        """Wait until one that has connected was taken in, as a missing rank, or let go."""
        end = time.monotonic() + wait_s
        is_decided = False
        while not is_decided:
            ready = self._selector.select(max(0.0, end - time.monotonic()))
            for key, _ in ready:
                if key.data is None:
                    self._open_door()
                elif key.data in self._callers:
                    is_decided |= self._decide(key.data)
            now = time.monotonic()
            for caller in [each for each in self._callers if each.until < now]:
                self._let_go(caller)
            is_decided |= now >= end

    def take(self) -> list[Rank]:
        """All ranks, in order; nobody else is let in."""
        for caller in list(self._callers):
            self._let_go(caller)
        self._selector.close()
        self._socket.close()
        ranks, self._ranks = self._ranks, {}
        return [ranks[number] for number in sorted(ranks)]

    def close(self) -> None:
        """Close it, and the connections that were not taken."""
        for rank in self.take():
            rank.connection.close()

    def _open_door(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        connection.setblocking(False)
        caller = _Caller(connection, time.monotonic() + _HELLO_TIMEOUT_S)
        self._callers.append(caller)
        self._selector.register(connection, selectors.EVENT_READ, caller)
        if len(self._callers) > self._world_size + _MOST_STRANGERS:
            self._let_go(self._callers[0])

    def _decide(self, caller: _Caller) -> bool:
        """True if `caller` was taken in or let go."""
        try:
            hello = caller.hear()
        except (OSError, WorkerError):
            self._let_go(caller)
            return True
        if hello is None:
            return False
        is_one = secrets.compare_digest(hello.token.encode(), self.token.encode())
        if not is_one or hello.rank not in self.missing:
            self._let_go(caller)
            return True
        self._forget(caller)
        caller.connection.setblocking(True)
        self._ranks[hello.rank] = Rank(caller.connection, hello)
        return True

    def _let_go(self, caller: _Caller) -> None:
        self._forget(caller)
        caller.connection.close()

    def _forget(self, caller: _Caller) -> None:
        self._callers.remove(caller)
        self._selector.unregister(caller.connection)


def own_address(group: HostGroup) -> str:
    """The address by which the hosts of `group` reach this machine; loopback for ranks here."""
    ips = [ip for host in group.hosts for ip in host.ips]
    # MPI needs no addresses: the names that ssh takes lead to the hosts then.
    names = ips or [host.ssh.rpartition("@")[2] for host in group.hosts]
    elsewhere = [each for each in names if not each.startswith("127.")]
    if group.is_here or not elsewhere:
        return "127.0.0.1"
    family = socket.AF_INET6 if ":" in elsewhere[-1] else socket.AF_INET
    # Sends nothing: it only asks the system for the way there.
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect((elsewhere[-1], _ANY_PORT))
        return str(way.getsockname()[0])
