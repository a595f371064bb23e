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


def root_cause(troubles: Sequence[Trouble]) -> Exception:
    """The exception that says why the group broke off, of one or more troubles in their order."""
    ordered = sorted(troubles, key=_order)
    first = ordered[0]
    if first.stop is not None:
        danger = f"{first.name}: {first.stop}"
        return SafetyStopError(danger, is_its_own_fault=first.stop.is_its_own_fault)
    if all(each.follows_from_another for each in troubles) and first.failed is None:
        return PeerLostError(f"{first.name} lost the other ranks")
    if first.was_stopped:
        return PeerLostError(f"the worker of {first.name} was stopped by a signal")
    if first.status is not None:
        return RankDiedError(first.status, first.name)
    if first.failed is not None:
        if first.follows_from_another:
            return PeerLostError(f"{first.name} lost the other ranks ({first.failed.text})")
        return _named(first, len({each.failed and each.failed.text for each in troubles}) > 1)
    return PeerLostError(f"the connection to {first.name} was lost")


def _named(trouble: Trouble, is_its_own: bool) -> Exception:
    """The failure of one rank, which is named where the others did not fail in the same way."""
    assert trouble.failed is not None  # noqa: S101 - the caller asked
    failed = trouble.failed
    if is_its_own:
        failed = messages.Failed(failed.failure, f"{trouble.name}: {failed.text}", failed.traceback)
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
