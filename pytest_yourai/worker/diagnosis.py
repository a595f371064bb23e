"""Diagnosis of a run that ended: its outcome, the reason, and what to do about it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.errors import SafetyStopError
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.results import Outcome
from pytest_yourai.core.units import gigabytes, seconds

_MEMORY_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
"""Signals that end a process which was refused memory.

The kernel kills it, or MLX's CPU allocator returns null and it faults.
"""

_NEAR_THE_LIMIT = 0.9

_LARGE_PART_OF_ADDRESS_SPACE = 0.5
"""MLX asks for one array at a time, and the largest may be as large as all others together."""

_PAGING_SLOWDOWN = 3.0

_LEAST_SWAP_GROWTH_BYTES = 50_000_000
"""Less is other programs' business."""

_LONGEST_QUOTE = 200

_SMALLER = "choose a smaller configuration"

SMALLER_OR_CLOSE = f"{_SMALLER}, or close programs"

TIMEOUT_REMEDY = "give it more with --yourai-timeout, or see in the report where its worker hung"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The outcome of a run: what happened where, and what to do about it.

    `conclusive` is as in a TrialResult.
    """

    outcome: Outcome
    reason: str | None = None
    remedy: str | None = None
    conclusive: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known when a run breaks off. Bytes.

    `exception` is the worker's text, None where it died; `returncode` that of `subprocess`, None
    where it lives. `largest_bytes` is the most that MLX held, 0 once the configuration is known to
    fit: MLX takes then what it is given, which is near the budget. `largest_array_bytes` is the
    largest single allocation of the trial on the CPU backend, by arithmetic. The address space is
    what RLIMIT_AS counts. The rest is as in a MemoryTrace.
    """

    where: str
    exception: str | None = None
    loss_is_invalid: bool = False
    returncode: int | None = None
    stderr: str = ""
    backend: str = "cpu"
    largest_bytes: int = 0
    largest_array_bytes: int = 0
    memory_limit_bytes: int = 0
    least_available_bytes: int | None = None
    was_under_the_floor: bool = False
    oom_kills: int = 0
    address_space_bytes: int = 0
    address_space_limit_bytes: int | None = None


def classify(evidence: Evidence) -> Diagnosis:
    """The outcome of a worker that raised, or died."""
    where = evidence.where
    if evidence.loss_is_invalid:
        return Diagnosis(
            Outcome.INVALID_LOSS,
            f"{evidence.exception} {where}: the model or its weights are unsound",
            "try --yourai-weights synthetic, which shows whether it is the weights",
        )
    if evidence.exception is not None:
        text = _first_line(evidence.exception)
        if known := recognise(evidence.exception):
            return Diagnosis(known.outcome, f"{known.what} {where} ({text})", known.remedy)
        remedy = "fix what the traceback in the report shows"
        return Diagnosis(Outcome.ERROR, f"{text} ({where})", remedy)
    return _classify_death(evidence)


def _classify_death(evidence: Evidence) -> Diagnosis:
    status = evidence.returncode or 0
    ended = f"the worker ended {evidence.where} with status {status}"
    if status < 0:
        ended = f"the worker was ended by {_signal_name(-status)} {evidence.where}"
    # MLX before 0.32 threw from Metal's own threads, which ends the process.
    last_words = _last_words(evidence.stderr) if -status == signal.SIGABRT else None
    if last_words and (known := recognise(last_words)):
        return Diagnosis(known.outcome, f"{known.what}: {ended} ({last_words})", known.remedy)
    if -status in _MEMORY_SIGNALS and (why := _why_memory(evidence, -status)):
        return Diagnosis(Outcome.OOM, f"out of memory: {ended}{why}", SMALLER_OR_CLOSE)
    remedy = "see its last output in the report, and try it alone with -k"
    return Diagnosis(Outcome.CRASHED, ended, remedy)


def _why_memory(evidence: Evidence, number: int) -> str | None:
    """Why a death by this signal was for lack of memory; None where it need not be."""
    available = evidence.least_available_bytes
    if number == signal.SIGKILL and evidence.oom_kills:
        return ", by the kernel for lack of memory"
    if evidence.largest_bytes >= _NEAR_THE_LIMIT * evidence.memory_limit_bytes > 0:
        return f", at {gigabytes(evidence.largest_bytes)}"
    if available is not None and evidence.was_under_the_floor:
        return f", with {gigabytes(available)} left on the machine"
    return None if number == signal.SIGKILL else _why_refused(evidence)


def _why_refused(evidence: Evidence) -> str | None:
    """Why the system may have refused memory to a process that it did not end itself."""
    space = evidence.address_space_limit_bytes
    if space is not None and evidence.address_space_bytes >= _LARGE_PART_OF_ADDRESS_SPACE * space:
        return f"; its address space is limited to {gigabytes(space)}"
    array = evidence.largest_array_bytes
    rooms = (
        evidence.least_available_bytes,
        None if space is None else space - evidence.address_space_bytes,
    )
    if evidence.backend == "cpu" and any(room is not None and array > room for room in rooms):
        return f"; it needs an array of {gigabytes(array)}, more than there was room for"
    return None


def paging(paces_s: Sequence[float], swap_growth_bytes: int) -> str | None:
    """The reason to say that a trial was paging; None where it was not.

    `paces_s` are the times of its steps, made comparable where they have unequal numbers of
    tokens. After the fastest, two of them or the last took more than three times as long, while
    swap grew.
    """
    if swap_growth_bytes < _LEAST_SWAP_GROWTH_BYTES or not paces_s:
        return None
    fastest = min(paces_s)
    later = paces_s[paces_s.index(fastest) + 1 :]
    slow = [pace for pace in later if pace > _PAGING_SLOWDOWN * fastest]
    if not slow or (len(slow) == 1 and later[-1] not in slow):
        return None
    return (
        f"swap grew by {gigabytes(swap_growth_bytes)} and a step took {seconds(max(slow))}, "
        f"{max(slow) / fastest:.0f} times its fastest"
    )


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "an exception without a text")
    return line if len(line) <= _LONGEST_QUOTE else f"{line[:_LONGEST_QUOTE]}…"


def _last_words(stderr: str) -> str | None:
    """The line in which C++ reports an uncaught exception."""
    for line in stderr.splitlines():
        if "terminating due to uncaught exception" in line or line.strip().startswith("what():"):
            return line.strip()
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def safety_stop(stop: SafetyStopError, where: str) -> Diagnosis:
    """The outcome of a run that the guard stopped."""
    whose = "" if stop.is_its_own_fault else ", most of which others had taken"
    return Diagnosis(
        Outcome.SAFETY_STOP,
        f"the guard stopped it {where}: {stop}{whose}",
        f"{SMALLER_OR_CLOSE}, or add --yourai-force",
        conclusive=stop.is_its_own_fault,
    )


def over_budget(minimum_bytes: int, limit_bytes: int) -> Diagnosis:
    """The outcome of a trial whose minimum memory, with the margin, is over its budget."""
    safe_bytes = minimum_bytes * SAFETY_MARGIN
    return Diagnosis(
        Outcome.OVER_BUDGET,
        f"needs {gigabytes(minimum_bytes)}, with the margin {gigabytes(safe_bytes)}, over the "
        f"budget of {gigabytes(limit_bytes)}",
        _SMALLER,
    )
