"""A fixed piece of work, timed to know how fast the machine itself is at the moment.

On a machine that others use too, the same training steps take 12 % more or less from one run to the
next; of what kinds of work were tried on one (hashing, matrix products, copying memory, plain
Python), plain Python's mean times went along with steps best: over 25 runs of `tiny --quick` their
correlation was 0.90 and the slope of the logarithms 0.96.
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
