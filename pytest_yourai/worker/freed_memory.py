"""Memory that a process has freed, and keeps for what it allocates next."""

from __future__ import annotations

_LARGEST_HEAP_BLOCK_BYTES = 31 << 20
"""Just below the largest block that glibc ever takes from its heap."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 64 MB, for what is allocated next.

    By itself it keeps twice the largest block freed so far. Whether MLX's arrays on the CPU are
    more, so that each step takes its pages from the system once more, would be chance: 2 ms of 15.
    """
    bytearray(_LARGEST_HEAP_BLOCK_BYTES)
