"""Diagnosis of a run that ended: its outcome, the reason, and what to do about it."""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass

from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.errors import (
    CollectiveStalledError,
    ConnectError,
    GroupError,
    InputError,
    RankDiedError,
    SafetyStopError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
    WorkerReportError,
)
from pytest_yourai.core.excerpt import excerpt
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.outcomes import Outcome, Overdue
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine.guard import MemoryTrace
from pytest_yourai.worker.run_record import RunRecord

_MEMORY_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
"""Signals that end a process which was refused memory.

The kernel kills it, or MLX's CPU allocator returns null and it faults.
"""

_NEAR_THE_LIMIT = 0.9

_LARGE_PART_OF_ADDRESS_SPACE = 0.5
"""MLX asks for one array at a time, and the largest may be as large as all others together."""

_LONGEST_QUOTE = 200

SMALLER = "choose a smaller configuration"

SMALLER_OR_CLOSE = f"{SMALLER}, or close programs"

TIMEOUT_REMEDY = "give it more with --yourai-timeout, or see in the report where its worker hung"

COMPILE_TIMEOUT_REMEDY = "give it more with --yourai-compile-timeout"

_LEAST_COMPILE_TIME_S = 1.0
"""Less is not named in a reason."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The outcome of a run: what happened where, and what to do about it.

    `conclusive` and `overdue` are as in a TrialResult.
    """

    outcome: Outcome
    reason: str | None = None
    remedy: str | None = None
    conclusive: bool = True
    overdue: Overdue | None = None


def classify(
    record: RunRecord, cause: WorkerError | InputError, largest_array_bytes: int = 0
) -> Diagnosis:
    """The outcome of a run whose worker raised `cause`, or died.

    `largest_array_bytes` is the largest single allocation of a step on the CPU backend, by
    arithmetic; 0 on others.
    """
    if isinstance(cause, WorkerDiedError):
        found = _classify_death(record, cause.returncode, largest_array_bytes)
        return _of_rank(found, cause.name) if isinstance(cause, RankDiedError) else found
    if isinstance(cause, GroupError):
        return _of_group(cause, record.where)
    if isinstance(cause, WorkerFailedError) and cause.loss_is_invalid:
        return invalid_loss(f"{cause} {record.where_loss_is_computed}")
    if isinstance(cause, WorkerReportError):
        return impossible(f"{cause} {record.where}")
    text = _first_line(str(cause))
    if known := recognise(str(cause)):
        return Diagnosis(known.outcome, f"{known.what} {record.where} ({text})", known.remedy)
    return _unknown(cause, record.where)


_REMEDIES_OF_GROUPS = {
    Outcome.COLLECTIVE_STALLED: "check the link between the hosts, and try it again",
    Outcome.PEER_LOST: "check that its host is up and on the network, and try it again",
}


def _of_group(cause: GroupError, where: str) -> Diagnosis:
    """The outcome of a run whose ranks were parted. It says nothing of larger configurations."""
    outcome = Outcome.PEER_LOST
    if isinstance(cause, ConnectError):
        what, _, remedy = str(cause).rpartition(": ")
        return Diagnosis(Outcome.CONNECT_FAILED, what, remedy)
    if isinstance(cause, CollectiveStalledError):
        outcome = Outcome.COLLECTIVE_STALLED
    return Diagnosis(outcome, f"{cause} {where}", _REMEDIES_OF_GROUPS[outcome])


def _of_rank(found: Diagnosis, name: str) -> Diagnosis:
    """`found` of the worker of one rank, which is named; without a sign of memory it is lost."""
    reason = f"{name}: {found.reason}"
    if found.outcome is not Outcome.CRASHED:
        return dataclasses.replace(found, reason=reason)
    remedy = "see its last output in the report, and try it again"
    return Diagnosis(Outcome.PEER_LOST, reason, remedy)


def _unknown(cause: WorkerError | InputError, where: str) -> Diagnosis:
    if isinstance(cause, InputError):
        # Its sentence ends with its own remedy.
        return Diagnosis(Outcome.ERROR, f"{where}: {cause}")
    what = f"{_first_line(str(cause))} ({where})"
    if not isinstance(cause, WorkerFailedError):
        return impossible(what)
    return Diagnosis(Outcome.ERROR, what, "fix what the traceback in the report shows")


_OF_MADE_UP_WEIGHTS = "name its real weights: what made-up ones give may be no number"


def invalid_loss(what: str) -> Diagnosis:
    """The outcome of a run with a loss that is zero or not finite; `what` begins the reason."""
    return Diagnosis(
        Outcome.INVALID_LOSS,
        f"{what}: the model or its weights are unsound",
        "try --yourai-weights=synthetic, which shows whether it is the weights",
    )


def remedied(found: Diagnosis, *, is_synthetic: bool) -> Diagnosis:
    """`found` of a trial, with the remedy for a loss that made-up weights leave."""
    if found.outcome is not Outcome.INVALID_LOSS or not is_synthetic:
        return found
    return dataclasses.replace(found, remedy=_OF_MADE_UP_WEIGHTS)


def impossible(what: str) -> Diagnosis:
    """The outcome of a run whose worker broke the protocol, or reported what cannot be."""
    remedy = "run it again, and report it with the versions of MLX and mlx-lm if it comes back"
    return Diagnosis(Outcome.ERROR, what, remedy)


def _classify_death(record: RunRecord, status: int, largest_array_bytes: int) -> Diagnosis:
    ended = f"the worker ended {record.where} with status {status}"
    if status < 0:
        ended = f"the worker was ended by {_signal_name(-status)} {record.where}"
    # MLX before 0.32 threw from Metal's own threads, which ends the process.
    last_words = _last_words(record.output.stderr) if -status == signal.SIGABRT else None
    if last_words and (known := recognise(last_words)):
        return Diagnosis(known.outcome, f"{known.what}: {ended} ({last_words})", known.remedy)
    if -status in _MEMORY_SIGNALS and (why := _why_memory(record, -status, largest_array_bytes)):
        return Diagnosis(Outcome.OOM, f"out of memory: {ended}{why}", SMALLER_OR_CLOSE)
    remedy = "see its last output in the report, and try it alone with -k"
    return Diagnosis(Outcome.CRASHED, ended, remedy)


def _why_memory(record: RunRecord, number: int, largest_array_bytes: int) -> str | None:
    """Why a death by this signal was for lack of memory; None where it need not be."""
    trace, held = record.guard.trace, record.largest_mlx_bytes
    available = trace.least_available_bytes
    if number == signal.SIGKILL and trace.oom_kills:
        return ", by the kernel for lack of memory"
    if held >= _NEAR_THE_LIMIT * record.guard.budget_bytes > 0:
        return f", at {gigabytes(held)}"
    if available is not None and trace.was_under_the_floor:
        return f", with {gigabytes(available)} left on the machine"
    return None if number == signal.SIGKILL else _why_refused(trace, largest_array_bytes)


def _why_refused(trace: MemoryTrace, array_bytes: int) -> str | None:
    """Why the system may have refused memory to a process that it did not end itself."""
    space, taken = trace.address_space_limit_bytes, trace.largest_address_space_bytes
    if space is not None and taken >= _LARGE_PART_OF_ADDRESS_SPACE * space:
        return f"; its address space is limited to {gigabytes(space)}"
    rooms = trace.least_available_bytes, None if space is None else space - taken
    if any(room is not None and array_bytes > room for room in rooms):
        return f"; it needs an array of {gigabytes(array_bytes)}, more than there was room for"
    return None


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "an exception without a text")
    return excerpt(line, _LONGEST_QUOTE)


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


def completed(record: RunRecord) -> Diagnosis:
    """The outcome of a run that fitted, and that nothing broke off."""
    if why := record.paging():
        return Diagnosis(Outcome.PAGING, why, SMALLER_OR_CLOSE)
    return Diagnosis(Outcome.OK)


def overdue(record: RunRecord, begin: str, limit: Overdue) -> Diagnosis:
    """The outcome of a run over its `limit`: paging where swap grew; `begin` opens the reason."""
    record.guard.read_system()
    where = record.where
    if limit is Overdue.ITEM and record.compile_time_s >= _LEAST_COMPILE_TIME_S:
        where += f", beside {record.compile_time_s:.0f} s of compiling"
    if why := record.paging(with_running_step=True):
        return Diagnosis(Outcome.PAGING, f"{begin} {where}: {why}", SMALLER_OR_CLOSE)
    remedy = COMPILE_TIMEOUT_REMEDY if limit is Overdue.COMPILE else TIMEOUT_REMEDY
    return Diagnosis(Outcome.TIMEOUT, f"{begin} {where}", remedy, overdue=limit)


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
        SMALLER,
    )
