"""No command finds modules in a model or data folder that it names, unless that is trusted."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from pytest_yourai.cli.foreign_code import leave_foreign_code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "train.jsonl").write_text("{}\n")
    (tmp_path / "recipe.yaml").write_text("data: .\n")
    (tmp_path / "list.yaml").write_text("mine: {path: model}\n")
    for key, value in (("model", "."), ("presets_file", "../list.yaml")):
        (tmp_path / f"{key}.json").write_text(json.dumps({"settings": {key: value}}))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(folder / "lib"), str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((".", str(tmp_path))))
    return folder


@pytest.mark.parametrize(
    "given",
    [
        Namespace(yourai_model=["tiny", "."]),
        Namespace(yourai_data=["../model"]),
        Namespace(yourai_models=["../list.yaml"]),
        Namespace(model=".", data=None, trust_remote_code=False),
        Namespace(model="tiny", data="."),
        Namespace(model="mine", models=Path("../list.yaml")),
        Namespace(model=None, config=Path("../recipe.yaml")),
        Namespace(yourai_config=["recipe.yaml"]),
        Namespace(model=None, profile=Path("../model.json")),
        Namespace(model=None, profile=Path("../presets_file.json")),
    ],
)
def test_they_are_taken_off_both_paths(folder: Path, given: Namespace) -> None:
    leave_foreign_code(given)
    assert os.environ["PYTHONPATH"] == str(folder.parent)
    assert sys.path[0]
    assert sys.path[-1] == str(folder.parent)
    assert str(folder / "lib") not in sys.path


@pytest.mark.parametrize(
    "given",
    [
        Namespace(yourai_model=["."], yourai_trust_remote_code=True),
        Namespace(model=".", trust_remote_code=True),
        Namespace(profiles=["a.json"]),
        Namespace(yourai_model=["tiny"]),
    ],
)
def test_what_is_trusted_or_of_no_command_stays(folder: Path, given: Namespace) -> None:
    leave_foreign_code(given)
    assert os.environ["PYTHONPATH"] == os.pathsep.join((".", str(folder.parent)))
    assert str(folder / "lib") in sys.path
