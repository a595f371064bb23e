import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_yourai.config import Quantization
from pytest_yourai.errors import ModelError
from pytest_yourai.models import architecture_depth, id_name, resolve
from pytest_yourai.paths import matrices_folder
from pytest_yourai.presets import Preset, read_presets

NOWHERE = Path("no such folder")

PRESETS = read_presets(matrices_folder() / "models.yaml")


def folder_with(path: Path, config: Any, *, weights: bool = False) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    if weights:
        (path / "model.safetensors").write_bytes(b"")
    return path


def test_the_packaged_presets_stand_smallest_first() -> None:
    assert list(PRESETS) == [
        "tiny",
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]


def test_a_preset_is_titled_by_its_repository_and_synthetic() -> None:
    model = resolve("hermes-70b", NOWHERE, "auto", PRESETS)
    assert model.title == "Hermes-3-Llama-3.1-70B"
    assert (model.weights, model.depth) == ("synthetic", 80)
    assert model.quantization(None) == Quantization(4)


def test_tiny_is_not_quantized_unless_asked() -> None:
    tiny = resolve("tiny", NOWHERE, "auto", PRESETS)
    assert tiny.quantization(None) is None
    assert tiny.quantization(Quantization(8)) == Quantization(8)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 2}
    folder = folder_with(tmp_path / "My Model", config, weights=True)
    model = resolve("", folder, "auto", PRESETS)
    assert (model.name, model.title, model.weights) == ("My-Model", "My Model", "local")
    assert model.quantization(None) is None


def test_a_folder_without_weights_is_synthetic_under_auto_and_refused_under_local(
    tmp_path: Path,
) -> None:
    folder = folder_with(tmp_path / "m", {"model_type": "llama"})
    assert resolve("", folder, "auto", PRESETS).weights == "synthetic"
    with pytest.raises(ModelError, match=r"has no model\*\.safetensors"):
        resolve("", folder, "local", PRESETS)


def test_stored_quantization_holds_and_a_conflict_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "llama", "quantization": {"bits": 4, "group_size": 32}}
    model = resolve("", folder_with(tmp_path / "m", config, weights=True), "auto", PRESETS)
    assert model.quantization(None) == Quantization(4, 32)
    assert model.quantization(Quantization(4)) == Quantization(4, 32)
    with pytest.raises(ModelError, match="the weights of m are quantized already .4-bit."):
        model.quantization(Quantization(8))
    with pytest.raises(ModelError, match="leave --yourai-quantize out"):
        model.quantization("none")


def test_foreign_quantization_is_taken_with_its_weights_and_refused_without(
    tmp_path: Path,
) -> None:
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}
    there = resolve("", folder_with(tmp_path / "a", config, weights=True), "auto", PRESETS)
    assert there.quantization(None) is None
    assert there.foreign_quantization == "gptq"
    with pytest.raises(ModelError, match="quantized already .gptq."):
        there.quantization(Quantization(4))
    absent = resolve("", folder_with(tmp_path / "b", config), "auto", PRESETS)
    with pytest.raises(ModelError, match="quantized with gptq, which cannot be made up"):
        absent.quantization(None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lama-8b", "did you mean .*llama-8b"),
        ("xyz", "did you mean tiny, hermes-mistral-7b"),
        ("someone/some-model", "hf download someone/some-model --local-dir FOLDER"),
    ],
)
def test_an_unknown_name_says_what_is_near(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(name, NOWHERE, "auto", PRESETS)


def test_local_weights_of_a_preset_that_is_not_here_are_refused() -> None:
    with pytest.raises(ModelError, match="weights of llama-8b are not on this machine"):
        resolve("llama-8b", NOWHERE, "local", PRESETS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": 3}', "{", "\x00"])
def test_a_folder_that_is_no_model_is_named(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve("", folder, "auto", PRESETS)


def test_an_empty_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model: it has no config\.json"):
        resolve("", tmp_path, "auto", PRESETS)


@pytest.mark.parametrize(
    ("architecture", "depth"),
    [
        ({"num_hidden_layers": 3}, 3),
        ({"n_layers": 5}, 5),
        ({"n_layer": 6}, 6),
        ({"text_config": {"num_hidden_layers": 7}}, 7),
        ({"layers": 7}, None),
    ],
)
def test_depth_is_found_under_its_several_names(
    architecture: dict[str, Any], depth: int | None
) -> None:
    assert architecture_depth(architecture) == depth


def test_id_names_have_nothing_that_k_cannot_match() -> None:
    assert id_name("a b=c,d[e]") == "a-b-c-d-e-"


def test_a_models_file_may_name_folders_and_architectures_by_path(tmp_path: Path) -> None:
    folder_with(tmp_path / "m", {"model_type": "llama", "n_layers": 2}, weights=True)
    (tmp_path / "models.yaml").write_text(
        "mine: {path: m, params: 1M}\nbare: {architecture: m/config.json, params: 1M}\n"
    )
    presets: dict[str, Preset] = read_presets(tmp_path / "models.yaml")
    assert resolve("mine", NOWHERE, "auto", presets).weights == "local"
    assert resolve("bare", NOWHERE, "auto", presets).depth == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is no list of models"),
        ("a: {repo: x/y, size: 7B}\n", "models.yaml:1: a.size: unknown key"),
        ("a: {repo: x/y, params: seven}\n", "a.params: 'seven' is no number of parameters"),
        ("a:\n  defaults:\n    quantize: 9\n", "models.yaml:3: a.defaults.quantize: it must be"),
    ],
)
def test_mistakes_in_a_models_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_presets(tmp_path / "models.yaml")


MODELS_TEXT = st.text() | st.from_regex(
    r"(a|tiny): ?\{?(repo|path|params|architecture|defaults): .{0,20}\}?\n", fullmatch=True
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(text=MODELS_TEXT)
def test_no_text_gives_anything_but_presets_or_a_model_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert read_presets(path)
    except ModelError as problem:
        assert str(tmp_path) in str(problem)  # noqa: PT017 - both ways are right, nothing else is


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(content=st.binary() | st.text().map(str.encode))
def test_no_config_gives_anything_but_a_model_or_a_model_error(
    tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "m"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(str(folder))):
        resolve("", folder, "auto", PRESETS)


def test_a_preset_wins_over_a_folder_of_its_name(
    tmp_path: Path,
) -> None:
    folder = folder_with(tmp_path / "tiny", {"model_type": "llama"})
    assert resolve("tiny", folder, "auto", PRESETS).preset is PRESETS["tiny"]
    assert resolve("./tiny", folder, "auto", PRESETS).preset is None
