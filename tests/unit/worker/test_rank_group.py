"""Which rank is named where all were lost."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_yourai.core.errors import PeerLostError
from pytest_yourai.worker import messages
from pytest_yourai.worker.conversation import TimeLimit
from pytest_yourai.worker.ranks import wire
from pytest_yourai.worker.ranks.group import RankGroup
from pytest_yourai.worker.ranks.listener import Rank
from pytest_yourai.worker.tail import Tail


class EndedLauncher:
    """Of an `mlx.launch` that prints nothing, and has ended."""

    pid = 1
    has_ended = True

    def __init__(self) -> None:
        self.tail = Tail()
        self.output_fd, self._written_fd = os.pipe()

    def read(self, size: int) -> bytes:
        return os.read(self.output_fd, size)

    def end(self) -> None:
        os.close(self.output_fd)
        os.close(self._written_fd)


@contextmanager
def group_of_two() -> Iterator[tuple[RankGroup, list[socket.socket]]]:
    """A group, and the agents' ends of its connections."""
    server = socket.create_server(("127.0.0.1", 0))
    agents, ranks = [], []
    for number in range(2):
        agents.append(socket.create_connection(server.getsockname()))
        hello = wire.Hello("", number, 1, f"host-{number}", {}, 1, 1)
        ranks.append(Rank(server.accept()[0], hello))
    server.close()
    launcher: Any = EndedLauncher()
    group = RankGroup(ranks, launcher, silent_s=5)
    try:
        yield group, agents
    finally:
        group.kill()
        for agent in agents:
            agent.close()


@pytest.mark.parametrize("first", [0, 1])
def test_the_rank_that_was_lost_first_is_named(first: int) -> None:
    with group_of_two() as (group, agents):
        group.send(messages.Ping())
        agents[first].close()
        assert group.receive(0.05) is None
        agents[1 - first].close()
        with pytest.raises(PeerLostError, match=rf"rank {first} \(host-{first}\)"):
            group.answer(messages.Pong, limit=TimeLimit(5.0))
