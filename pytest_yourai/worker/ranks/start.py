"""Starts a group of ranks, and checks before a model is loaded that they can train together."""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import (
    ConnectError,
    GroupError,
    PeerLostError,
    RankDiedError,
    WorkerDiedError,
    WorkerError,
)
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.conversation import TimeLimit
from pytest_yourai.worker.joining import Joined, JoinRequest
from pytest_yourai.worker.ranks.group import RankGroup
from pytest_yourai.worker.ranks.launcher import Launcher
from pytest_yourai.worker.ranks.listener import Listener, Rank
from pytest_yourai.worker.ranks.preflight import check_devices, check_files, check_versions
from pytest_yourai.worker.ranks.ssh_check import check_hosts

CONNECT_TIMEOUT_S = 60.0
"""Seconds in which all ranks must have connected, and again in which they must have joined."""

_PROBE_BYTES = 1 << 24
"""Summed while joining: enough for the bandwidth of a link to show."""

_POLL_S = 0.1

_PORT_IS_TAKEN = "Couldn't bind socket"
"""What MLX's ring says where its port is taken (MLX 0.32.4, distributed/utils.cpp)."""


@dataclass(frozen=True)
class StartedGroup:
    """A group whose ranks have joined, and hold no model yet."""

    conversation: RankGroup
    device: DeviceInfo
    joined: Joined


def start_group(
    group: HostGroup,
    source: ModelSource,
    silent_s: int,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> StartedGroup:
    """Start the ranks of `group`, which load the model of `source` later.

    Hosts answer, have the same interpreter, packages, backend and model files, and the ranks reach
    each other. ConnectError, which names the remedy, where one of this does not hold.
    """
    check_hosts(group)
    ranks, launcher = _connected(group, connect_timeout_s)
    conversation = _greeted(ranks, launcher, silent_s)
    try:
        check_versions(conversation.hellos)
        return _joined(conversation, group, source, connect_timeout_s)
    except BaseException:
        conversation.kill()
        raise


def _greeted(ranks: list[Rank], launcher: Launcher, silent_s: int) -> RankGroup:
    try:
        return RankGroup(ranks, launcher, silent_s)
    except OSError as problem:
        # On a Mac a connection that has just been lost takes no options.
        for rank in ranks:
            rank.connection.close()
        launcher.end()
        raise ConnectError(
            f"a rank was lost as soon as it had connected ({problem}): try again"
        ) from None


def _joined(
    conversation: RankGroup, group: HostGroup, source: ModelSource, timeout_s: float
) -> StartedGroup:
    try:
        device = conversation.answer(DeviceInfo, limit=TimeLimit(timeout_s))
        devices = [conversation.devices[rank] for rank in range(group.world_size)]
        check_devices(conversation.hellos, devices)
        if source.folder is not None:
            found = conversation.read_files(source.folder, timeout_s)
            check_files(conversation.hellos, found, source.folder)
    except (WorkerDiedError, GroupError) as problem:
        if isinstance(problem, ConnectError):
            raise
        raise ConnectError(
            f"the worker of a rank cannot run: {problem}; check that python -c 'import mlx_lm' "
            "works on each host"
        ) from None
    conversation.send(JoinRequest(group.backend, _PROBE_BYTES))
    try:
        joined = conversation.answer(Joined, limit=TimeLimit(timeout_s))
    except WorkerError as problem:
        raise ConnectError(why_not_joined(group, problem)) from None
    return StartedGroup(conversation, device, joined)


def why_not_joined(group: HostGroup, problem: WorkerError) -> str:
    """What kept the ranks of `group` from joining, and what to do about it."""
    if _PORT_IS_TAKEN in str(problem):
        return (
            f"a port of the ring is taken on a host ({problem}): end what listens there, or start "
            "it again, which chooses other ports"
        )
    if isinstance(problem, PeerLostError | WorkerDiedError):
        name = problem.name if isinstance(problem, RankDiedError) else "a rank"
        return (
            f"{name} was lost while the ranks joined ({problem}): start it again, and check that "
            "host if it comes back"
        )
    names = ", ".join(sorted({ip for each in group.hosts for ip in each.ips}))
    backend = group.backend or "the backend that MLX chose"
    return (
        f"the ranks did not reach each other by {backend} ({problem}): check that the addresses "
        f"{names or '(none)'} are those of the link between the hosts, and that no firewall is "
        "between them"
    )


def _connected(group: HostGroup, timeout_s: float) -> tuple[list[Rank], Launcher]:
    """All ranks of `group`, in order, and the launcher that has started them."""
    try:
        listener = Listener(group)
    except OSError as problem:
        raise ConnectError(
            f"no port can be opened for the ranks ({problem}): check the addresses of the hosts"
        ) from None
    try:
        launcher = Launcher(group, listener.address, listener.token)
        try:
            _await_all(group, listener, launcher, timeout_s)
        except BaseException:
            launcher.end()
            raise
        return listener.take(), launcher
    finally:
        listener.close()


def _await_all(group: HostGroup, listener: Listener, launcher: Launcher, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(launcher.output_fd, selectors.EVENT_READ)
        while listener.missing:
            if selector.get_map() and selector.select(0):
                data = launcher.read(1 << 16)
                launcher.tail.add(data)
                if not data:
                    selector.unregister(launcher.output_fd)
            elif launcher.has_ended or time.monotonic() > end:
                raise ConnectError(_why_missing(group, listener, launcher, timeout_s))
            listener.accept_one(_POLL_S)


def telling_line(output: str) -> str | None:
    """The last line of mlx.launch's output that is of no traceback; None where there is none."""
    lines = [line for line in output.splitlines() if line.strip()]
    telling = [
        line.strip()
        for line in lines
        if not line.startswith((" ", "Traceback", "subprocess.CalledProcessError"))
    ]
    return next(reversed(telling), None)


def _why_missing(group: HostGroup, listener: Listener, launcher: Launcher, timeout_s: float) -> str:
    missing = ", ".join(f"{rank} ({group.hosts[rank].ssh})" for rank in listener.missing)
    said = telling_line(launcher.tail.take())
    last = f", and mlx.launch said: {said}" if said else ""
    when = "before mlx.launch ended" if launcher.has_ended else f"within {timeout_s:g} s"
    address, port = listener.address
    return (
        f"rank {missing} did not connect to {address}:{port} {when}{last}: check that mlx.launch "
        "itself starts a program on these hosts, and that they reach this machine"
    )
