"""The conversation with all ranks of a group as if they were one worker.

Everything waits in one selector, without threads, as with one worker. What ends one rank ends all:
whoever is raised to from here must call `kill`.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import (
    CollectiveStalledError,
    PeerLostError,
    SafetyStopError,
    WorkerError,
)
from pytest_yourai.machine.guard import Guard
from pytest_yourai.worker import messages
from pytest_yourai.worker.conversation import Conversation
from pytest_yourai.worker.protocol import Measurement, TrainingEnd
from pytest_yourai.worker.ranks import wire
from pytest_yourai.worker.ranks.launcher import Launcher
from pytest_yourai.worker.ranks.listener import Rank
from pytest_yourai.worker.ranks.merging import Merger
from pytest_yourai.worker.ranks.pace import Pace
from pytest_yourai.worker.ranks.peer import Peer
from pytest_yourai.worker.ranks.troubles import root_cause
from pytest_yourai.worker.run_record import Output, RunRecord

_READ_SIZE = 1 << 16

_GRACE_S = 1.0
"""Seconds in which further troubles are waited for: the first need not be the cause."""

_END_WAIT_S = 1.5

_STACK_WAIT_S = 1.0

_STACK_QUIET_S = 0.2


class RankGroup(Conversation):
    """The conversation with the ranks of one group, which this ends with their launcher."""

    def __init__(self, ranks: Sequence[Rank], launcher: Launcher, silent_s: int) -> None:
        self.hellos = [rank.hello for rank in ranks]
        self._peers = [Peer(rank) for rank in ranks]
        self._launcher, self._silent_s = launcher, silent_s
        self._merger = Merger(len(ranks))
        self._inbox: deque[messages.Message] = deque()
        self._number = 0
        self._troubled: list[Peer] = []
        self._trouble_since: float | None = None
        self._guard: Guard | None = None
        self._pace = Pace()
        self._is_released = False
        self.devices: dict[int, DeviceInfo] = {}
        self._selector = selectors.DefaultSelector()
        for peer in self._peers:
            self._selector.register(peer.connection, selectors.EVENT_READ, peer)
        self._selector.register(launcher.output_fd, selectors.EVENT_READ, None)
        for peer in self._peers:
            wire.notice_silence(peer.connection, silent_s)
            self._tell(peer, wire.Welcome(silent_s))

    @property
    def pid(self) -> int:
        return self._launcher.pid

    def read_files(self, folder: str, limit_s: float) -> list[str | None]:
        """A digest of the model's files in `folder` of each rank; None where there is no folder."""
        for peer in self._peers:
            self._tell(peer, wire.ReadFiles(folder))
        end = time.monotonic() + limit_s
        while not all(peer.said_files for peer in self._peers):
            self._raise_trouble()
            if time.monotonic() > end:
                raise WorkerError(f"the ranks did not read {folder} within {limit_s:g} s")
            self._read_once(0.1)
        return [peer.files for peer in self._peers]

    def watch(self, guard: Guard, device: DeviceInfo, *, holds_the_model: bool) -> None:
        guard.watch_elsewhere(has_own_memory=device.has_own_memory)
        self._guard, self._pace = guard, Pace()
        watch = wire.Watch(
            guard.budget_bytes, guard.is_forced, device.has_own_memory, not holds_the_model
        )
        for peer in self._peers:
            peer.heard_at = time.monotonic()
            self._tell(peer, watch)

    def send(self, command: messages.Command) -> None:
        if not isinstance(command, messages.Stop | messages.GoOn):
            self._number += 1
            self._merger.clear()
            self._inbox.clear()
            for peer in self._peers:
                peer.failed = None
        line = wire.WORKER + messages.encode(messages.Envelope(self._number, command))
        for peer in self._peers:
            self._write(peer, line)

    def answer(
        self,
        kind: type[Any],
        record: RunRecord | None = None,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        found = super().answer(kind, record, *arguments, **options)
        if isinstance(found, Measurement | TrainingEnd):
            self._guard = None
            for peer in self._peers:
                self._tell(peer, wire.Unwatch())
        return found

    def receive(
        self, timeout_s: float = math.inf, record: RunRecord | None = None
    ) -> messages.Message | None:
        deadline = time.monotonic() + timeout_s
        while True:
            if record and record.guard.due_in_s() <= 0:
                record.check()
                self._check_peers(record)
            if self._inbox:
                return self._inbox.popleft()
            self._raise_trouble()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            check_s = record.guard.due_in_s() if record else math.inf
            grace_s = _GRACE_S / 10 if self._trouble_since is not None else math.inf
            wait_s = min(left_s, check_s, grace_s)
            self._read_once(None if math.isinf(wait_s) else wait_s)

    def print_stacks(self) -> None:
        for peer in self._peers:
            self._tell(peer, wire.PrintStacks())
        deadline = end = time.monotonic() + _STACK_WAIT_S
        while (left_s := end - time.monotonic()) > 0:
            if self._read_once(left_s):
                end = min(deadline, time.monotonic() + _STACK_QUIET_S)

    def take_output(self) -> Output:
        while not self._is_released and self._read_once(0.0):
            pass
        return Output(
            self._joined([(peer.name, peer.stdout.take()) for peer in self._peers]),
            self._joined(
                [
                    *((peer.name, peer.stderr.take()) for peer in self._peers),
                    ("mlx.launch", self._launcher.tail.take()),
                ]
            ),
        )

    def close(self) -> int:
        return self.kill()

    def kill(self) -> int:
        if self._is_released:
            return 0
        self._is_released = True
        for peer in self._peers:
            if peer.is_connected:
                self._selector.unregister(peer.connection)
            peer.connection.close()
        self._selector.close()
        end = time.monotonic() + _END_WAIT_S
        # On other hosts the agents end their workers; here that is made sure of.
        while not self._launcher.has_ended and time.monotonic() < end:
            time.sleep(0.02)
        self._launcher.end()
        return 0

    def _check_peers(self, record: RunRecord) -> None:
        """PeerLostError where one is silent, CollectiveStalledError where all wait for all."""
        # What came while this process was stopped counts.
        while self._read_once(0.0):
            pass
        now = time.monotonic()
        for peer in self._peers:
            if peer.is_connected and now > peer.heard_at + self._silent_s:
                raise PeerLostError(f"nothing was heard from {peer.name} for {self._silent_s} s")
        has_news = any(not isinstance(each, MlxMemory) for each in self._inbox)
        if has_news or record.compiling_s is not None:
            return
        if (why := self._pace.stall(now - record.heard_at)) is not None:
            raise CollectiveStalledError(why)

    def _raise_trouble(self) -> None:
        """Raise why the group broke off, once all ranks have said so, or the first a while ago."""
        self._troubled += [
            peer for peer in self._peers if peer.trouble is not None and peer not in self._troubled
        ]
        troubles = [each for peer in self._troubled if (each := peer.trouble) is not None]
        if not troubles:
            return
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        if len(troubles) == len(self._peers) or now >= self._trouble_since + _GRACE_S:
            raise root_cause(troubles, len(self._peers))

    def _read_once(self, wait_s: float | None) -> bool:
        """Wait for data and read it; False where none came in time."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            if key.data is None:
                self._read_launcher()
            else:
                self._read_peer(key.data)
        return bool(ready)

    def _read_launcher(self) -> None:
        data = _read(lambda: self._launcher.read(_READ_SIZE))
        if data:
            self._launcher.tail.add(data)
        else:
            self._selector.unregister(self._launcher.output_fd)

    def _read_peer(self, peer: Peer) -> None:
        data = _read(lambda: peer.connection.recv(_READ_SIZE))
        if not data:
            peer.is_connected = False
            self._selector.unregister(peer.connection)
            return
        peer.heard_at = time.monotonic()
        for line in peer.lines.add(data):
            if line[:1] == wire.WORKER:
                self._take_worker_line(peer, line[1:])
            else:
                self._take_agent_message(peer, wire.decode(wire.FromAgent, line[1:]))

    def _take_worker_line(self, peer: Peer, line: bytes) -> None:
        envelope = messages.decode(messages.Message, line)
        if envelope.number != self._number:
            return
        body: messages.Message = envelope.body
        if isinstance(body, messages.Failed):
            peer.failed = body
            return
        if isinstance(body, DeviceInfo):
            self.devices[peer.number] = body
        for merged in self._merger.add(peer.number, body):
            self._pace.note(merged)
            self._inbox.append(merged)

    def _take_agent_message(self, peer: Peer, message: wire.FromAgent) -> None:
        match message:
            case wire.Printed(stdout, stderr):
                peer.stdout.add(stdout.encode())
                peer.stderr.add(stderr.encode())
                peer.last_words = (peer.last_words + stderr)[-_READ_SIZE:]
            case wire.Seen() if self._guard is not None:
                self._guard.take_in(message.trace, message.warnings, message.base_bytes)
            case wire.GuardStopped(danger, is_its_own_fault):
                peer.stop = SafetyStopError(danger, is_its_own_fault=is_its_own_fault)
            case wire.WorkerStopped():
                peer.was_stopped = True
            case wire.WorkerEnded(status):
                peer.status = status
            case wire.FilesRead(digest):
                peer.files, peer.said_files = digest, True

    def _tell(self, peer: Peer, message: wire.ToAgent) -> None:
        self._write(peer, wire.encode(message))

    def _write(self, peer: Peer, line: bytes) -> None:
        # What is lost with the connection shows when it is read from.
        with contextlib.suppress(OSError):
            peer.connection.sendall(line)

    @staticmethod
    def _joined(parts: Sequence[tuple[str, str]]) -> str:
        return "\n".join(f"[{name}]\n{text}" for name, text in parts if text.strip())


def _read(read: Callable[[], bytes]) -> bytes:
    """What `read` returns; nothing where the other end is gone, or does not answer."""
    try:
        return read()
    except OSError:
        return b""
