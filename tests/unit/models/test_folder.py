from pathlib import Path

import pytest

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import is_folder
from pytest_yourai.models.folder import missing_file, read_architecture

from support.hub import bare_model

LLAMA = {"model_type": "llama"}


def test_a_folder_with_all_its_files_lacks_nothing(tmp_path: Path) -> None:
    assert missing_file(bare_model(tmp_path / "one", LLAMA)) is None
    assert missing_file(bare_model(tmp_path / "three", LLAMA, shards=3)) is None


@pytest.mark.parametrize(
    ("shards", "lost"),
    [
        (1, "config.json"),
        (3, "config.json"),
        (3, "model-00001-of-00003.safetensors"),
        (3, "model-00003-of-00003.safetensors"),
    ],
)
def test_what_is_lost_is_named(tmp_path: Path, shards: int, lost: str) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=shards)
    (folder / lost).unlink()
    assert missing_file(folder) == lost


def test_without_any_weights_their_pattern_is_named(tmp_path: Path) -> None:
    folder = bare_model(tmp_path / "m", LLAMA)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert missing_file(folder) == "model*.safetensors"


def test_names_of_shards_tell_how_many_there_are_before_an_index_does(tmp_path: Path) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=3)
    (folder / "model.safetensors.index.json").unlink()
    assert missing_file(folder) is None
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert missing_file(folder) == "model-00002-of-00003.safetensors"


def test_a_link_to_nothing_is_not_a_file(tmp_path: Path) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to("nothing")
    assert missing_file(folder) == shard.name


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', "\x00"])
def test_an_index_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=2)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"m/model\.safetensors\.index\.json cannot be read as"):
        missing_file(folder)


def test_an_index_from_before_all_was_put_into_one_file_does_not_count(tmp_path: Path) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=2)
    for shard in folder.glob("model-*"):
        shard.unlink()
    assert missing_file(folder) == "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").write_bytes(b"")
    assert missing_file(folder) is None
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}'
    )
    assert missing_file(folder) == "model-2.safetensors"


def test_what_cannot_be_looked_at_is_not_a_folder(tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / ("x" * 300))


@pytest.mark.parametrize("digits", [41, 400, 4000, 5000])
@pytest.mark.parametrize("text", ['"hidden_size": %s', '"text_config": {"n": [1, -%s]}'])
def test_a_number_that_no_model_has_is_refused(tmp_path: Path, text: str, digits: int) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "llama", ' + text % ("9" * digits) + "}")
    with pytest.raises(ModelError, match=r"(hidden_size|text_config.n): no model|5,000 digits"):
        read_architecture(path)
