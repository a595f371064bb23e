"""What the controller knows of one rank while it talks to it."""

from __future__ import annotations

import time

from pytest_yourai.core.errors import SafetyStopError
from pytest_yourai.worker import messages
from pytest_yourai.worker.lines import Lines
from pytest_yourai.worker.ranks.listener import Rank
from pytest_yourai.worker.ranks.troubles import Trouble
from pytest_yourai.worker.tail import Tail


class Peer:
    """One rank's end of the conversation."""

    def __init__(self, rank: Rank) -> None:
        self.connection = rank.connection
        self.number = rank.hello.rank
        self.name = f"rank {rank.hello.rank} ({rank.hello.host})"
        self.lines = Lines()
        self.stdout, self.stderr = Tail(), Tail()
        self.heard_at = time.monotonic()
        self.status: int | None = None
        self.stop: SafetyStopError | None = None
        self.failed: messages.Failed | None = None
        self.was_stopped = False
        self.is_connected = True
        self.files: str | None = None
        self.said_files = False
        self.last_words = ""

    @property
    def trouble(self) -> Trouble | None:
        """What ended it; None while it can go on."""
        if self.is_connected and self.failed is None and self.stop is None and not self.was_stopped:
            return None
        return Trouble(
            self.number,
            self.name,
            self.failed,
            self.stop,
            self.status,
            self.was_stopped,
            self.last_words,
        )
