"""Whatever number a worker sends that cannot be: refused where the message is read, by name."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args

import pytest

from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerReportError
from pytest_yourai.machine.guard import Guard
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import Inspection
from pytest_yourai.worker import messages
from pytest_yourai.worker.joining import AllSum, Joined
from pytest_yourai.worker.protocol import (
    Compiling,
    Measurement,
    RowsRead,
    Saved,
    Saving,
    SkippedBatch,
    TrainingEnd,
    Validated,
    Validating,
)
from pytest_yourai.worker.run_record import TrainingRecord

from support.training import a_sample, a_step

SHAPES = InspectedShapes(8, (LinearShape("a.b", 8, 8),), (16, 16))
MESSAGES: list[Any] = [
    DeviceInfo("metal", "Apple M3 Max", 10**11, 10**10, "0.32.4", "0.32.2"),
    Inspection(4, 9, {"a.b": ("a.b",)}, {"a.b": SHAPES}, TrainingData((30, 12))),
    messages.Loaded(4_517_407_752),
    MlxMemory(1, 2, 3, 4),
    RowsRead(2, 3),
    a_sample("measure"),
    a_step(3),
    SkippedBatch(3, 2.5, 1),
    Validated(10, 2.5, 0.3, 5),
    Saving(10),
    Saved(10),
    TrainingEnd(10, "interval"),
    Joined(1, 2, AllSum(0.03, 1 << 24)),
]
NEVER = [-1, -0.5, 10**40, -(10**40), 1e300, "1", True, [], {}]
NO_FLOAT = [math.nan, math.inf, -math.inf]
NOT_ZERO = {
    *("step_time_s", "peak_memory_bytes", "active_memory_bytes", "base_memory_bytes"),
    *("num_hidden_layers", "memory_bytes"),
}


def numbers(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all numbers in a JSON value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, each in items for found in numbers(each, (*place, key))]
    return [place] if isinstance(value, int | float) and not isinstance(value, bool) else []


CASES = [
    (message, place)
    for message in MESSAGES
    for place in numbers(json.loads(json.dumps(dataclasses.asdict(message))))
]


def decoded(message: Any, place: tuple[Any, ...], value: Any) -> Any:
    envelope = json.loads(messages.encode(messages.Envelope(1, message)))
    inner = envelope["body"]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return messages.decode(messages.Message, json.dumps(envelope).encode()).body


def test_every_kind_of_message_with_numbers_is_tried() -> None:
    tried = {type(each) for each in MESSAGES}
    without = {messages.Pong, messages.Failed, Measurement, Compiling, Validating}
    assert tried | without == set(get_args(messages.Message))


@pytest.mark.parametrize(
    ("message", "place"),
    CASES,
    ids=[f"{type(each).__name__}-{'.'.join(map(str, place))}" for each, place in CASES],
)
def test_a_number_that_cannot_be_is_refused_by_name(message: Any, place: tuple[Any, ...]) -> None:
    field = place[-1] if isinstance(place[-1], str) else place[-2]
    values = [] if field == "loss" else [*NEVER, *NO_FLOAT, *([0] if field in NOT_ZERO else [])]
    for value in [*values, 10**40, 1e300, "1", []]:
        with pytest.raises(WorkerReportError) as caught:
            decoded(message, place, value)
        shown = str(caught.value)
        assert shown.startswith(f"the worker sent a {type(message).__name__} with ")
        assert f"{field}" in shown
        assert repr(value)[:60] in shown
        assert len(shown) < 300


def test_a_step_of_training_follows_the_one_before() -> None:
    record = TrainingRecord(Guard(10**12, forced=True), first_step=2)
    record.add(a_step(3))
    for step in (2, 3, 5):
        with pytest.raises(WorkerReportError, match=f"reported step {step} of training after"):
            record.add(a_step(step))
