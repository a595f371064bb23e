"""Pointers of Git LFS in place of the files of a model or of data are named, with the way out."""

from pathlib import Path

import pytest

from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.lfs import is_pointer
from pytest_yourai.core.parsing import data_source
from pytest_yourai.models.model import Model
from pytest_yourai.models.resolve import WeightsChoice, resolve

from support.hub import bare_model

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{64 * '0'}\nsize 12345\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bare_model(tmp_path / "m", {"model_type": "llama"}, shards=2)


def found(folder: Path, weights: WeightsChoice) -> Model:
    return resolve("m", folder, weights, {})


@pytest.mark.parametrize("weights", ["local", "hub"])
def test_weights_that_are_pointers_are_not_there(folder: Path, weights: WeightsChoice) -> None:
    pointer = folder / "model-00002-of-00002.safetensors"
    pointer.write_text(POINTER)
    with pytest.raises(UnavailableError) as refused:
        found(folder, weights)
    assert str(refused.value) == (
        f"{pointer} is a pointer of Git LFS, not the file itself: run git lfs pull in {folder}, "
        "or use --yourai-weights=synthetic"
    )


def test_synthetic_weights_in_their_place_are_noted_unless_they_were_asked_for(
    folder: Path,
) -> None:
    (folder / "model-00001-of-00002.safetensors").write_text(POINTER)
    model = found(folder, "auto")
    assert model.weights == "synthetic"
    assert model.note is not None
    assert "run git lfs pull in" in model.note
    assert found(folder, "synthetic").note is None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_tokenizer_that_is_a_pointer_is_refused_for_data(folder: Path, name: str) -> None:
    model = found(folder, "local")
    model.require_tokenizer()
    (folder / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name} is a pointer of Git LFS.*: run git lfs pull in"):
        model.require_tokenizer()


@pytest.mark.parametrize("weights", ["auto", "local", "synthetic"])
def test_a_config_that_is_a_pointer_is_refused(folder: Path, weights: WeightsChoice) -> None:
    (folder / "config.json").write_text(POINTER)
    with pytest.raises(ModelError, match=r"m/config\.json is a pointer of Git LFS"):
        found(folder, weights)


def test_data_that_are_pointers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a fox"}\n')
    assert data_source(str(tmp_path), tmp_path)
    (tmp_path / "valid.jsonl").write_text(POINTER)
    with pytest.raises(ValueError, match=r"valid\.jsonl is a pointer of Git LFS"):
        data_source(str(tmp_path), tmp_path)


@pytest.mark.parametrize("content", ["", "version 2\n", POINTER + 1024 * " ", f" {POINTER}"])
def test_other_files_are_not_pointers(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    assert not is_pointer(tmp_path / "file")
    assert not is_pointer(tmp_path)
    assert not is_pointer(tmp_path / "gone")


def test_a_name_that_no_file_can_have_is_no_pointer() -> None:
    assert not is_pointer(Path("x" * 5000))
