"""Every kind of error that ends training comes with something to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_yourai.core.errors import (
    DataError,
    SafetyStopError,
    StopOverdueError,
    WorkerDiedError,
    WorkerError,
    WorkerFailedError,
    WorkerReportError,
)
from pytest_yourai.core.known_failures import KNOWN_FAILURES
from pytest_yourai.machine.guard import Guard
from pytest_yourai.training.options import TRAIN_OPTIONS
from pytest_yourai.training.remedies import remedy
from pytest_yourai.worker.diagnosis import classify, safety_stop
from pytest_yourai.worker.run_record import RunRecord
from pytest_yourai.worker.supervised_run import BrokenOff

from support.messages import says_what_to_do

FLAGS = {each.flag for each in TRAIN_OPTIONS.values()}


def failed(text: str) -> WorkerFailedError:
    return WorkerFailedError(text, "Traceback …", loss_is_invalid=False)


def broken_off(cause: WorkerError) -> BrokenOff:
    return BrokenOff(cause, classify(RunRecord(Guard(10**9, forced=False)), cause))


@pytest.mark.parametrize(
    ("cause", "part"),
    [
        (WorkerDiedError(3), "see its last output in a/training_log.jsonl"),
        (WorkerDiedError(-15), "see its last output in a/training_log.jsonl"),
        (WorkerError("it broke the protocol"), "run it again"),
        (WorkerReportError("a step of -1 s"), "run it again"),
        (failed("ValueError: odd"), "fix what the traceback in a/training_log.jsonl shows"),
        (failed("[malloc] Unable to allocate 9 bytes"), "use a smaller --batch-size"),
        (failed("OSError: [Errno 28] No space left on device"), "make room on it"),
        (failed("[metal::malloc] Resource limit (499000) exceeded."), "give a --reload-interval"),
        (failed("the GPU timeout error"), "use a shorter --seq-length"),
    ],
)
def test_an_error_of_the_worker(cause: WorkerError, part: str) -> None:
    found = remedy(broken_off(cause), Path("a"))
    assert found is not None
    assert part in found
    assert says_what_to_do(found)
    assert set(re.findall(r"--[a-z][a-z-]+", found)) <= FLAGS


@pytest.mark.parametrize("pattern", [each.pattern for each in KNOWN_FAILURES])
def test_every_known_failure_has_a_remedy_with_the_flags_of_training(pattern: str) -> None:
    text = re.sub(r"\\(.)", r"\1", pattern.partition("|")[0])
    found = remedy(broken_off(failed(text)), Path("a"))
    assert found is not None
    assert says_what_to_do(found)
    assert "--yourai" not in found


def test_what_this_process_ended() -> None:
    stop = SafetyStopError("8.0 GB left", is_its_own_fault=True)
    found = remedy(BrokenOff(stop, safety_stop(stop, "in step 3")), Path("a"))
    assert found is not None
    assert found.endswith("or add --force")
    late = StopOverdueError("it was interrupted, and its worker did not end within 60 s")
    diagnosis = classify(RunRecord(Guard(10**9, forced=False)), WorkerError(""))
    found = remedy(BrokenOff(late, diagnosis), Path("a"))
    assert found is not None
    assert found.startswith("see the worker's stacks in a/training_log.jsonl")


def test_a_loss_that_was_never_finite_does_not_come_from_the_learning_rate() -> None:
    end = broken_off(WorkerFailedError("the loss was nan", "Traceback …", loss_is_invalid=True))
    later = remedy(end, Path("a"))
    assert later == "try a smaller --learning-rate, or --max-grad-norm"
    at_once = remedy(end, Path("a"), has_learned=False)
    assert at_once is not None
    assert "--learning-rate" not in at_once
    assert "the weights and the rows: try --weights=synthetic" in at_once


def test_an_input_error_has_its_own() -> None:
    cause = DataError("no rows: add some")
    assert (
        remedy(BrokenOff(cause, classify(RunRecord(Guard(1, forced=False)), cause)), Path("a"))
        is None
    )
