"""A fixed piece of work, timed around a run: how fast the machine itself was at the time.

Of the kinds of work tried beside 31 runs of `tiny --quick` on two cores under load (hashing, matrix
products, copying memory, plain Python), plain Python followed the steps of MLX's CPU backend best:
from run to run with a correlation of 0.8 to 0.9.
"""

from __future__ import annotations

import time

_REPETITIONS = 40

_ROUNDS = 60_000
"""About 3 ms on a core of 2025."""


def reference_times_s() -> list[float]:
    """Seconds of each repetition: about 0.12 s in all, in this thread."""
    times = []
    for _ in range(_REPETITIONS):
        begin = time.perf_counter()
        total = 0
        for number in range(_ROUNDS):
            total += number * number
        times.append(time.perf_counter() - begin)
    return times
