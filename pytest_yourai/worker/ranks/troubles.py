"""Why a group of ranks broke off: of all that went wrong at once, what was first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_yourai.core.errors import (
    PeerLostError,
    RankDiedError,
    SafetyStopError,
)
from pytest_yourai.worker import messages
from pytest_yourai.worker.conversation import error_of

_OF_THE_OTHERS = re.compile(
    r"\[ring\]|\[jaccl\]|\bnccl|\bmpi\b|all_?reduce|socket|connection|broken pipe|peer"
    r"|distributed|stream\(",
    re.IGNORECASE,
)
"""In what MLX prints or raises on a rank that has lost another (MLX 0.32.4, ring.cpp, nccl.cpp)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What ended one rank. One of the fields besides `name` says how; none where it fell silent."""

    rank: int
    name: str
    """The rank and its host, for people."""
    failed: messages.Failed | None = None
    stop: SafetyStopError | None = None
    status: int | None = None
    """Of the worker's process."""
    was_stopped: bool = False
    last_words: str = ""
    """The end of its stderr."""

    @property
    def follows_from_another(self) -> bool:
        """True if it shows no more than that another rank was lost."""
        if self.failed is not None:
            return bool(_OF_THE_OTHERS.search(self.failed.text))
        return self.status not in (None, -9) and bool(_OF_THE_OTHERS.search(self.last_words))


def root_cause(troubles: Sequence[Trouble], world_size: int) -> Exception:
    """The exception that says why a group of so many broke off, of its troubles in their order."""
    first = min(troubles, key=_order)
    if first.stop is not None:
        danger = f"{first.name}: {first.stop}"
        return SafetyStopError(danger, is_its_own_fault=first.stop.is_its_own_fault)
    if first.follows_from_another:
        said = f" ({first.failed.text})" if first.failed is not None else ""
        return PeerLostError(f"{first.name} lost the other ranks{said}")
    if first.status is not None:
        return RankDiedError(first.status, first.name)
    return _without_status(first, troubles, world_size)


def _without_status(first: Trouble, troubles: Sequence[Trouble], world_size: int) -> Exception:
    if first.was_stopped:
        return PeerLostError(f"the worker of {first.name} was stopped by a signal")
    if first.failed is not None:
        # The others of a rank that failed alone may wait for it in a sum, and have none.
        texts = [each.failed.text for each in troubles if each.failed is not None]
        is_of_all = len(texts) == world_size and len(set(texts)) == 1
        return _failure(first.failed, None if is_of_all else first.name)
    return PeerLostError(f"the connection to {first.name} was lost")


def _failure(failed: messages.Failed, name: str | None) -> Exception:
    """The failure of all ranks, or of the one that is named."""
    if name is not None:
        failed = messages.Failed(failed.failure, f"{name}: {failed.text}", failed.traceback)
    return error_of(failed)


def _order(trouble: Trouble) -> int:
    """What is more likely to be the cause of all others comes first."""
    if trouble.stop is not None:
        return 0
    if trouble.follows_from_another:
        return 5
    if trouble.status is not None:
        return 1
    if trouble.was_stopped:
        return 2
    return 3 if trouble.failed is not None else 4
