import dataclasses
import math

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer, Quantization, StepPlan
from pytest_yourai.core.device import DeviceInfo, MlxMemory
from pytest_yourai.core.errors import WorkerError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import Inspection, ModelSource, Wanted
from pytest_yourai.worker import messages
from pytest_yourai.worker.protocol import (
    Measurement,
    Saved,
    Saving,
    StepSample,
    TrainingEnd,
    TrainingParameters,
    TrainingRequest,
    TrialRequest,
    Validated,
)

from support.training import a_sample, a_step

SHAPES = InspectedShapes(8, (LinearShape("a.b", 8, 8),), (16, 16))
SOURCE = ModelSource("tiny", {"model_type": "llama"}, None, True, Quantization(4), ("a.b",))
FULL = LoraConfig(
    1,
    0,
    4,
    64,
    fine_tune_type=FineTuneType.FULL,
    optimizer=Optimizer.MUON,
    lora_keys="all",
    grad_accumulation_steps=4,
)
RECIPE = Recipe(
    scale=16.0,
    learning_rate=2e-5,
    lr_schedule={"name": "cosine_decay", "arguments": [1e-5, 1000], "warmup": 10},
    optimizer_config={"adamw": {"weight_decay": 0.01}},
    mask_prompt=True,
    seed=7,
    clear_cache_threshold=10**9,
    resume_adapter_file="adapters.safetensors",
    hf_dataset=({"path": "mlx-community/wikisql"},),
)
REQUEST = TrialRequest(LoraConfig(1, 8, 4, 64), StepPlan(), 10**12, None)
TRAINING = TrainingRequest(
    config=LoraConfig(1, 8, 4, 64, lora_keys="a.b,c.d", dropout=0.05),
    recipe=RECIPE,
    parameters=TrainingParameters(
        max_steps=100,
        save_every=10,
        steps_per_eval=10,
        val_batches=-1,
    ),
    memory_limit_bytes=10**12,
    data="data",
    adapter_path="adapters",
    first_step=0,
    reload_active_bytes=None,
    usual_active_bytes=None,
    reload_footprint_bytes=None,
    about={"id": "x"},
)


@pytest.mark.parametrize(
    "command",
    [
        messages.Inspect(SOURCE, None),
        messages.Inspect(SOURCE, None, wanted=Wanted.of([FULL], RECIPE, "lora.yaml")),
        messages.Load(SOURCE),
        messages.Ping(),
        messages.Stop(),
        messages.GoOn(),
        REQUEST,
        dataclasses.replace(REQUEST, config=FULL, recipe=RECIPE),
        TRAINING,
    ],
    ids=lambda command: type(command).__name__,
)
def test_commands_survive_the_wire(command: messages.Command) -> None:
    envelope = messages.Envelope(7, command)
    line = messages.encode(envelope)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.decode(messages.Command, line) == envelope


@pytest.mark.parametrize(
    "message",
    [
        DeviceInfo("metal", "Apple M3 Max", 10**11, None, "0.32.4", "0.32.2"),
        Inspection(32, 8_030_261_248, {"qv": ("self_attn.q_proj", "self_attn.v_proj")}),
        Inspection(4, 9, {"a.b": ("a.b",), "all": ("a.b", "c.d")}, {"a.b": SHAPES}),
        Inspection(4, 9, {}, data=TrainingData((30, 12, 500))),
        messages.Loaded(4_517_407_752),
        messages.Pong(),
        MlxMemory(1, 2, 3, None),
        a_sample("measure"),
        Measurement(True, True),
        a_step(3),
        Validated(10, 2.5, 0.3),
        Saving(10),
        Saved(10),
        TrainingEnd(10, "interval"),
        messages.Failed("exception", "ValueError: line\nbreak", "Traceback …"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_survive_the_wire(message: messages.Message) -> None:
    envelope = messages.Envelope(3, message)
    assert messages.decode(messages.Message, messages.encode(envelope)) == envelope


def test_a_loss_that_is_not_finite_survives_the_wire() -> None:
    for loss in (math.nan, math.inf):
        sample = a_sample("warmup", loss=loss, footprint_bytes=None)
        message = messages.decode(
            messages.Message, messages.encode(messages.Envelope(1, sample))
        ).body
        assert isinstance(message, StepSample)
        assert str(message.loss) == str(loss)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "Invalid JSON"),
        (b"hello", "Invalid JSON"),
        (b"[]", "an object"),
        (b'{"number": 1}', "Field required"),
        (b'{"number": 1, "body": []}', "Unable to extract tag"),
        (b'{"number": 1, "body": {"kind": "Unknown"}}', "does not match any"),
        (b'{"number": 1, "body": {"kind": "Ping"}}', "does not match any"),
        (b'{"number": 1, "body": {"kind": "Loaded"}}', "Field required"),
        (b'{"body": {"kind": "Pong"}}', "Field required"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_anything_else_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(WorkerError, match="not a message") as caught:
        messages.decode(messages.Message, line)
    assert why in str(caught.value)
