"""What to do about a training run that broke off, in the words of `yourai train`."""

from __future__ import annotations

from pathlib import Path

from pytest_yourai.core.errors import (
    InputError,
    SafetyStopError,
    StopOverdueError,
    WorkerFailedError,
)
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.results import Outcome
from pytest_yourai.training.checkpoint import LOG
from pytest_yourai.worker.supervised_run import BrokenOff

_LESS_MEMORY = (
    "use a smaller --batch-size or --seq-length, add --grad-checkpoint, or close programs"
)


def remedy(end: BrokenOff, adapter_path: Path) -> str | None:
    """The remedy for `end`; None for an InputError, whose sentence ends with its own."""
    log, found = adapter_path / LOG, end.diagnosis.remedy
    match end.cause:
        case InputError():
            found = None
        case SafetyStopError():
            found = f"{_LESS_MEMORY}, or add --force"
        case StopOverdueError():
            found = f"see the worker's stacks in {log}, and resume: only the last steps are lost"
        case _ if end.diagnosis.outcome.is_memory_failure:
            found = _LESS_MEMORY
        case _ if end.diagnosis.outcome is Outcome.CRASHED:
            found = f"see its last output in {log}"
        case WorkerFailedError() if recognise(str(end.cause)) is None:
            found = f"fix what the traceback in {log} shows"
    return found.replace("--yourai-", "--") if found else None
