"""Which changes make earlier measurements hold no longer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.models.identity import model_identity
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.identity import run_identity
from pytest_yourai.worker.engine.model_folder import make_tokenizer

from support.models import TINY, make_model, write_rows


def test_rows_tokenizer_and_chat_template_count(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    data = write_rows(tmp_path / "data", [{"text": "a fox"}])
    source = ModelSource("m", TINY, str(tmp_path), True, None, ("qkvo",))
    known = [run_identity(source, str(data), SweepSettings())]

    def is_known() -> bool:
        identity = run_identity(source, str(data), SweepSettings())
        known.append(identity)
        return identity in known[:-1]

    assert is_known()
    write_rows(data, [{"text": "a fox"}], "valid")
    assert is_known(), "validation rows are not measured"
    write_rows(data, [{"text": "a fox jumps"}])
    assert not is_known()
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert not is_known()
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not is_known()


def test_a_data_set_by_name_is_known_by_its_name(tmp_path: Path) -> None:
    source = ModelSource("m", TINY, str(tmp_path), True, None, ("qkvo",))
    one, other = (run_identity(source, name, SweepSettings(data=name)) for name in ("a/b", "a/c"))
    assert one != other
    assert one == run_identity(source, "a/b", SweepSettings(data="a/b"))


def test_the_file_of_a_recipe_does_not_count_beside_what_it_says() -> None:
    source = ModelSource("m", TINY, None, True, None, ("qkvo",))
    one, other = (SweepSettings(recipe_file=name) for name in ("one.yaml", None))
    assert run_identity(source, None, one) == run_identity(source, None, other)


def test_adapters_that_training_begins_with_count(tmp_path: Path) -> None:
    source = ModelSource("m", TINY, None, True, None, ("qkvo",))
    path = tmp_path / "a[1].safetensors"

    def identity() -> dict[str, Any]:
        settings = SweepSettings(recipe={"resume_adapter_file": str(path)})
        return run_identity(source, None, settings)

    path.write_bytes(b"one")
    before = identity()
    assert identity() == before
    path.write_bytes(b"other")
    assert identity() != before


def test_a_link_to_nothing_is_not_part_of_it(tmp_path: Path) -> None:
    source = ModelSource("m", TINY, str(tmp_path), True, None, ("qkvo",))
    before = run_identity(source, None, SweepSettings())
    (tmp_path / "model-00001-of-00002.safetensors").symlink_to("nothing")
    assert run_identity(source, None, SweepSettings()) == before


def test_a_model_is_its_architecture_and_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    def identity(folder: Path) -> str:
        return model_identity(resolve("m", folder, "local", {}))

    one = identity(make_model(tmp_path / "one", TINY))
    shutil.copytree(tmp_path / "one", tmp_path / "copied")
    assert identity(tmp_path / "copied") == one
    assert identity(make_model(tmp_path / "tuned", TINY, seed=2)) != one
    config = tmp_path / "copied" / "config.json"
    config.write_text(config.read_text().replace("10000.0", "20000.0"))
    assert identity(tmp_path / "copied") != one


def test_variables_that_change_measurements_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ModelSource("m", TINY, None, True, None, ("qkvo",))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    known = run_identity(source, None, SweepSettings())
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert run_identity(source, None, SweepSettings()) != known
