"""Who holds most of the machine's memory. Bytes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import psutil

MOST_HOLDERS = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, and what it holds: resident memory, which leaves out what Metal holds."""

    name: str
    pid: int
    held_bytes: int


def largest_holders(count: int = MOST_HOLDERS) -> tuple[Holder, ...]:
    """The processes that hold most memory, the largest first, of those that may be looked at."""
    held = []
    # A process that is gone, or another user's on macOS, has None for what cannot be read.
    for process in psutil.process_iter(["name", "memory_info"]):
        memory, name = process.info["memory_info"], process.info["name"]
        if memory is not None and memory.rss:
            held.append(Holder(name or "unknown", process.pid, int(memory.rss)))
    return tuple(heapq.nlargest(count, held, key=lambda each: each.held_bytes))
