"""The commands of mlx-lm for weights that were quantized on load."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlx_lm.convert import configure_parser

from pytest_yourai.core.config import Quantization
from pytest_yourai.models.conversion import conversion
from pytest_yourai.models.model import Model
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


def test_a_path_that_is_a_pattern_is_named_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = conversion("/my models/a[1]", "a[1]", Quantization(4, 32), trust_remote_code=False)
    assert found.folder == str(tmp_path / "a-1--4bit")
    assert found.command.startswith(
        f"(cd '/my models/a[1]' && mlx_lm.convert --hf-path . --mlx-path {found.folder} --quantize"
    )
    assert found.command.endswith(")")


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


@pytest.mark.parametrize("name", ["model [1]", "it's a * model?"])
def test_commands_with_such_paths_run_as_they_are_pasted(
    asked: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The programs of mlx-lm are replaced by one that looks for the weights as they do."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("generate", "fuse"):
        path = programs / f"mlx_lm.{program}"
        path.write_text(f"#!{sys.executable}\n{LOOKING_FOR_WEIGHTS}")
        path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    folder = make_model(tmp_path / name)
    source = dataclasses.replace(asked.source, folder=str(folder))
    here = dataclasses.replace(asked, source=source)
    said = list(_closing(here, TrainingOutcome(12, 10**6, None)))[-2:]
    for line in said:
        done = subprocess.run(
            ["bash", "-c", line.partition(": ")[2]],
            check=False,
            env={"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.split() == ["model.safetensors"]


LOOKING_FOR_WEIGHTS = """
import glob, os, pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert os.path.isabs(arguments.get("--save-path", "/"))
folder = pathlib.Path(arguments["--model"])
for found in glob.glob(str(folder / "model*.safetensors")):
    print(pathlib.Path(found).name)
"""


def test_others_are_tried_on_their_own(asked: TrainSettings) -> None:
    said = list(_closing(asked, TrainingOutcome(12, 10**6, None)))
    assert not any("convert" in line for line in said)
    assert f"mlx_lm.generate --model {asked.source.folder} --adapter-path" in said[-2]
