"""What to do about a training run that broke off, in the words of `yourai train`."""

from __future__ import annotations

from pathlib import Path

from pytest_yourai.core.errors import (
    InputError,
    RankDiedError,
    SafetyStopError,
    StopOverdueError,
    WorkerFailedError,
)
from pytest_yourai.core.known_failures import recognise
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.training.checkpoint import LOG
from pytest_yourai.worker.supervised_run import BrokenOff

_LESS_MEMORY = (
    "use a smaller --batch-size or --seq-length, add --grad-checkpoint, or close programs"
)

_SMALLER_STEPS = "try a smaller --learning-rate, or --max-grad-norm"


def remedy(end: BrokenOff, adapter_path: Path, *, has_learned: bool = True) -> str | None:
    """The remedy for `end`; None for an InputError, whose sentence ends with its own.

    `has_learned` is true if the run had a finite loss before.
    """
    log, found = adapter_path / LOG, end.diagnosis.remedy
    known = recognise(str(end.cause))
    match end.cause:
        case InputError():
            found = None
        case SafetyStopError():
            found = f"{_LESS_MEMORY}, or add --force"
        case StopOverdueError():
            found = f"see the worker's stacks in {log}, and resume: only the last steps are lost"
        case _ if known is not None and known.in_training is not None:
            found = known.in_training
        case _ if end.diagnosis.outcome.is_memory_failure:
            found = _LESS_MEMORY
        case _ if end.diagnosis.outcome is Outcome.INVALID_LOSS:
            found = _SMALLER_STEPS if has_learned else _unsound(found)
        case RankDiedError() if end.diagnosis.outcome is Outcome.PEER_LOST:
            found = f"see its last output in {log}"
        case _ if end.diagnosis.outcome is Outcome.CRASHED:
            found = f"see its last output in {log}"
        case WorkerFailedError() if known is None:
            found = f"fix what the traceback in {log} shows"
    return found.replace("--yourai-", "--") if found else None


def _unsound(of_weights: str | None) -> str:
    """No step has changed the weights yet."""
    return f"no loss was finite, so look at the weights and the rows: {of_weights}"
