"""A fixed piece of work, timed to know how fast the machine itself is at the moment.

Of the kinds of work that were tried beside 31 runs of `tiny --quick` on two cores under load
(hashing, matrix products, copying memory, plain Python) plain Python went along best with the steps
of MLX's CPU backend: from run to run with a correlation of 0.8 to 0.9.
"""

from __future__ import annotations

import time

_REPETITIONS = 8

_ROUNDS = 60_000
"""About 3 ms on a core of today."""


def reference_times_s() -> tuple[float, ...]:
    """Seconds for each repetition: about 25 ms in all, in this thread."""
    times = []
    for _ in range(_REPETITIONS):
        begin = time.perf_counter()
        total = 0
        for number in range(_ROUNDS):
            total += number * number
        times.append(time.perf_counter() - begin)
    return tuple(times)
