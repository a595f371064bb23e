"""From evidence to outcome: why a trial that broke off did so. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from pytest_yourai.results import Outcome
from pytest_yourai.units import gigabytes

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA: cudaMallocAsync(&data, size, stream) failed: out of memory
    "insufficient memory",  # Metal: Command buffer execution failed: Insufficient Memory
    "unable to allocate",  # Metal: [malloc] Unable to allocate N bytes
    "maximum allowed buffer size",  # Metal: [metal::malloc] Attempting to allocate N bytes ...
    "std::bad_alloc",
)

_MEMORY_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
"""How a process ends that memory was refused to.

The kernel kills it, or MLX's CPU allocator returns null and it faults.
"""

_NEAR_THE_LIMIT = 0.9
_LOW_MEMORY_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a trial broke off. Bytes.

    `exception` is the worker's one line, None where it died; `returncode` that of `subprocess`,
    None where it lives. `largest_bytes` is the larger of the MLX peaks that it
    reported and, where it died, what the kernel says it held.
    """

    where: str
    exception: str | None = None
    loss_is_invalid: bool = False
    returncode: int | None = None
    largest_bytes: int = 0
    memory_limit_bytes: int = 0
    available_bytes: int | None = None
    oom_kills: int = 0
    """How many processes the kernel ended for lack of memory meanwhile."""
    address_space_limit_bytes: int | None = None
    """RLIMIT_AS of the worker, where one is set."""


def classify(evidence: Evidence) -> tuple[Outcome, str]:
    """The outcome, and the reason in words."""
    if evidence.loss_is_invalid:
        return Outcome.INVALID_LOSS, f"{evidence.exception}: the model or its weights are unsound"
    if evidence.exception is not None:
        text = evidence.exception.strip().splitlines()[0] if evidence.exception.strip() else "?"
        if any(sign in evidence.exception.lower() for sign in _OUT_OF_MEMORY_TEXTS):
            return Outcome.OOM, f"out of memory {evidence.where}: {text}"
        return Outcome.ERROR, f"{text} ({evidence.where})"
    return _classify_death(evidence)


def _classify_death(evidence: Evidence) -> tuple[Outcome, str]:
    status = evidence.returncode or 0
    ended = f"the worker ended {evidence.where} with status {status}"
    if status < 0:
        ended = f"the worker was ended by {_signal_name(-status)} {evidence.where}"
    if -status == signal.SIGKILL and evidence.oom_kills:
        return Outcome.OOM, f"out of memory: {ended}, by the kernel for lack of memory"
    if -status in _MEMORY_SIGNALS:
        if evidence.largest_bytes >= _NEAR_THE_LIMIT * evidence.memory_limit_bytes > 0:
            used = gigabytes(evidence.largest_bytes)
            return Outcome.OOM, f"out of memory: {ended}, at {used}"
        space = evidence.address_space_limit_bytes
        if space is not None and space < evidence.memory_limit_bytes:
            limit = gigabytes(space)
            return Outcome.OOM, f"out of memory: {ended}; its address space is limited to {limit}"
        if evidence.available_bytes is not None and evidence.available_bytes < _LOW_MEMORY_BYTES:
            left = gigabytes(evidence.available_bytes)
            return Outcome.OOM, f"out of memory: {ended}, with {left} available on the machine"
    return Outcome.CRASHED, f"{ended}: its output is in the report and in the journal"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
