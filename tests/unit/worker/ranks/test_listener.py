import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_yourai.core.hosts import DistributedBackend, Host, HostGroup
from pytest_yourai.worker.lines import Lines
from pytest_yourai.worker.ranks import wire
from pytest_yourai.worker.ranks.launcher import free_ports, launch_command
from pytest_yourai.worker.ranks.listener import Listener, own_address

HELLO = wire.Hello("", 0, 10, "studio", {"mlx": "0.32.4"}, 100, 90)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener(HostGroup.here(2))
    yield found
    found.close()


def says(listener: Listener, data: bytes) -> socket.socket:
    connection = socket.create_connection(listener.address)
    connection.sendall(data)
    listener.accept_one(5)
    return connection


def hello(listener: Listener, rank: int, token: str | None = None) -> bytes:
    who = dataclasses.replace(HELLO, token=token or listener.token, rank=rank)
    return wire.encode(who)


def test_it_takes_each_rank_once_in_order(listener: Listener) -> None:
    connections = [says(listener, hello(listener, rank)) for rank in (1, 1, 0)]
    assert listener.missing == []
    address = listener.address
    taken = listener.take()
    assert [each.hello.rank for each in taken] == [0, 1]
    assert connections[1].recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for each in (*connections, *(rank.connection for rank in taken)):
        each.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"a{}\n",
        b"w" + wire.encode(HELLO)[1:],
        wire.encode(wire.FilesRead("x")),
        b"a" + b"x" * (1 << 17),
    ],
)
def test_what_is_no_rank_is_let_go(listener: Listener, said: bytes) -> None:
    connection = socket.create_connection(listener.address)
    sender = threading.Thread(target=lambda: _send(connection, said))
    sender.start()
    listener.accept_one(5)
    sender.join(5)
    assert listener.missing == [0, 1]
    connection.close()


def _send(connection: socket.socket, said: bytes) -> None:
    try:
        connection.sendall(said)
    except OSError:
        return


@pytest.mark.parametrize("token", ["no", "ü"])
def test_a_wrong_token_is_refused(listener: Listener, token: str) -> None:
    connection = says(listener, hello(listener, 0, token))
    assert listener.missing == [0, 1]
    assert connection.recv(1) == b""
    connection.close()


def test_who_says_nothing_keeps_no_rank_waiting(listener: Listener) -> None:
    silent = []
    for _ in range(80):
        silent.append(socket.create_connection(listener.address))
        listener.accept_one(0)
    ranks = [says(listener, hello(listener, rank)) for rank in (0, 1)]
    while listener.missing:
        listener.accept_one(0.1)
    taken = listener.take()
    assert [each.hello.rank for each in taken] == [0, 1]
    assert all(each.connection.getblocking() for each in taken)
    for connection in silent:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    for each in (*silent, *ranks, *(rank.connection for rank in taken)):
        each.close()


def test_a_rank_may_say_its_line_in_pieces(listener: Listener) -> None:
    line = hello(listener, 1)
    connection = socket.create_connection(listener.address)
    for piece in (line[:5], line[5:-1], line[-1:]):
        connection.sendall(piece)
        listener.accept_one(0.05)
    while 1 in listener.missing:
        listener.accept_one(0.1)
    connection.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_it_listens_for_ipv6() -> None:
    group = HostGroup((Host("a", ("::1",)), Host("b", ("::1",))), None, Path("h.json"))
    try:
        found = Listener(group)
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert found.address[0] == "::1"
    connection = says(found, hello(found, 0))
    assert found.missing == [1]
    connection.close()
    found.close()


def test_without_addresses_the_names_of_ssh_lead_to_the_hosts() -> None:
    group = HostGroup((Host("a"), Host("me@127.0.0.1")), None, Path("h.json"))
    with pytest.raises(OSError, match="known|resolution|resolve"):
        own_address(HostGroup((Host("a"), Host("no-such-host.invalid")), None, Path("h.json")))
    assert own_address(dataclasses.replace(group, hosts=group.hosts[1:])) == "127.0.0.1"


def test_it_listens_where_the_hosts_reach_it() -> None:
    assert own_address(HostGroup.here(2)) == "127.0.0.1"
    local = HostGroup((Host("a", ("127.0.0.1",)), Host("b", ("127.0.0.1",))), None, Path("h.json"))
    assert own_address(local) == "127.0.0.1"


def test_the_command_of_mlx_launch() -> None:
    ours = launch_command(HostGroup.here(2), ("127.0.0.1", 5), [20, 21, 22])
    text = " ".join(ours)
    assert "-n 2 --starting-port 20 --nccl-port 22 -- " in text
    assert text.endswith("worker.ranks.agent 127.0.0.1 5 here")
    group = HostGroup(
        (Host("a", ("10.0.0.1",)), Host("b", ("10.0.0.2",))),
        DistributedBackend.RING,
        Path("hosts.json"),
    )
    text = " ".join(launch_command(group, ("10.0.0.1", 5), [20, 21, 22]))
    assert "--hostfile hosts.json --backend ring" in text
    assert text.endswith("-m pytest_yourai.worker.bootstrap worker.ranks.agent 10.0.0.1 5 there")


def test_free_ports_are_in_a_row_and_free() -> None:
    ports = free_ports(3)
    assert ports == list(range(ports[0], ports[0] + 3))
    with socket.socket() as taken:
        taken.bind(("", ports[1]))
        assert ports[1] not in free_ports(3)


def test_lines_are_cut_where_they_end() -> None:
    lines = Lines()
    assert lines.add(b"wab") == []
    assert lines.add(b"c\nad\nw") == [b"wabc", b"ad"]


def test_each_message_comes_over_as_it_was_sent() -> None:
    for message in (wire.Welcome(2), wire.Watch(5, True, False, True), wire.Unwatch()):
        assert wire.decode(wire.ToAgent, wire.encode(message)[1:-1]) == message
