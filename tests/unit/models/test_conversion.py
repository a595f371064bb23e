"""The commands of mlx-lm for weights that were quantized on load."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from mlx_lm.convert import configure_parser

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.conversion import conversion
from pytest_yourai.models.resolve import Model
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.supervisor import TrainingOutcome
from pytest_yourai.training.train import _closing

from support.models import TINY, make_model
from support.training_runs import settings


def test_mlx_lm_takes_the_command() -> None:
    found = conversion("/my models/a", "a", Quantization(4, 32), trust_remote_code=True)
    assert found.folder == "a-4bit"
    assert found.command == (
        "mlx_lm.convert --hf-path '/my models/a' --mlx-path a-4bit --quantize --q-bits 4 "
        "--q-group-size 32 --trust-remote-code"
    )
    flags = set(configure_parser()._option_string_actions)
    assert {word for word in found.command.split() if word.startswith("--")} <= flags


def test_stored_weights_are_as_they_are_loaded() -> None:
    stored = {**TINY, "quantization": {"bits": 4, "group_size": 64}}
    full = Model("tiny", "tiny", architecture=TINY)
    quantized = Model("tiny", "tiny", architecture=stored)
    assert quantized.source(Quantization(4), ("qkvo",)).quantized_on_load is None
    assert full.source(None, ("qkvo",)).quantized_on_load is None
    assert full.source(Quantization(8), ("qkvo",)).quantized_on_load == Quantization(8)


@pytest.fixture
def asked(tmp_path: Path) -> TrainSettings:
    make_model(tmp_path / "model")
    return settings(tmp_path, "adapters")


def test_adapters_of_quantized_weights_are_tried_on_quantized_weights(
    asked: TrainSettings,
) -> None:
    source = dataclasses.replace(asked.source, quantization=Quantization(4))
    *_, convert, generate, fuse = _closing(
        dataclasses.replace(asked, source=source), TrainingOutcome(12, 10**6, None)
    )
    assert f"mlx_lm.convert --hf-path {source.folder} --mlx-path model-4bit --quantize" in convert
    adapters = f"--model model-4bit --adapter-path {asked.adapter_path}"
    assert f"mlx_lm.generate {adapters} --prompt" in generate
    assert f"mlx_lm.fuse {adapters} --save-path" in fuse


def test_others_are_tried_on_their_own(asked: TrainSettings) -> None:
    said = list(_closing(asked, TrainingOutcome(12, 10**6, None)))
    assert not any("convert" in line for line in said)
    assert f"mlx_lm.generate --model {asked.source.folder} --adapter-path" in said[-2]
