import math

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization, StepPlan
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.worker import messages
from pytest_yourai.worker.protocol import Measurement, StepSample, TrialRequest

SOURCE = ModelSource("tiny", {"model_type": "llama"}, None, True, Quantization(4), ("a.b",))
REQUEST = TrialRequest(LoraConfig(1, 8, 4, 64), StepPlan(), 10**12, None, 0)


@pytest.mark.parametrize(
    "command",
    [messages.Inspect(SOURCE, None), messages.Load(SOURCE), messages.RunTrial(REQUEST)],
    ids=lambda command: command.kind,
)
def test_commands_survive_the_wire(command: messages.Command) -> None:
    line = messages.encode(command)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.decode_command(line) == command


@pytest.mark.parametrize(
    "message",
    [
        messages.Hello(DeviceInfo("metal", "Apple M3 Max", 10**11, None, "0.32.4", "0.32.2")),
        messages.Inspected(Inspection(32, 8_030_261_248, ("self_attn.q_proj",))),
        messages.Inspected(Inspection(4, 9, ("a.b",), data=TrainingData((30, 12, 500)))),
        messages.Loaded(4_517_407_752),
        messages.Step(StepSample("measure", 5.5, 0.1, 1, 2, 3, 4, 63)),
        messages.Measured(Measurement(True, True)),
        messages.Failed("exception", "ValueError: line\nbreak", "Traceback …"),
    ],
    ids=lambda message: message.kind,
)
def test_messages_survive_the_wire(message: messages.Message) -> None:
    assert messages.decode_message(messages.encode(message)) == message


def test_a_loss_that_is_no_number_survives_the_wire() -> None:
    for loss in (math.nan, math.inf):
        sample = StepSample("warmup", loss, 0.1, 1, 2, 3, None, 63)
        message = messages.decode_message(messages.encode(messages.Step(sample)))
        assert isinstance(message, messages.Step)
        assert str(message.sample.loss) == str(loss)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b'{"kind": "unknown"}',
        b'{"kind": "loaded"}',
        b'{"kind": "loaded", "base_memory_bytes": "many"}',
        b'{"kind": "step", "sample": {"phase": "rest"}}',
        b"\xff\xfe",
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(WorkerError, match="not a message"):
        messages.decode_message(line)
