import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import WeightsChoice, resolve

from support.hub import bare_model, cached
from support.texts import TEXTS

LLAMA = {"model_type": "llama", "num_hidden_layers": 2}

REPO = "owner/My-Model"

NOWHERE = Path("no such folder")

PRESETS = read_presets(packaged_models())


def folder_with(path: Path, config: Any, *, weights: bool = False) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    if weights:
        (path / "model.safetensors").write_bytes(b"")
    return path


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


@pytest.mark.parametrize("weights", ["local", "hub"])
def test_a_folder_without_weights_is_synthetic_under_auto_and_refused_under_others(
    tmp_path: Path, weights: WeightsChoice
) -> None:
    folder = folder_with(tmp_path / "m", {"model_type": "llama"})
    assert resolve("", folder, "auto", PRESETS).weights == "synthetic"
    with pytest.raises(UnavailableError, match=r"has no model\*\.safetensors: put the weights"):
        resolve("", folder, weights, PRESETS)


def test_a_folder_that_lacks_a_shard_counts_as_one_without_weights(tmp_path: Path) -> None:
    folder = bare_model(tmp_path / "m", LLAMA, shards=3)
    assert resolve("", folder, "auto", PRESETS).weights == "local"
    (folder / "model-00002-of-00003.safetensors").unlink()
    model = resolve("", folder, "auto", PRESETS)
    assert (model.weights, model.note) == (
        "synthetic",
        "the weights of m are synthetic: there is no model-00002-of-00003.safetensors",
    )
    assert resolve("", folder, "synthetic", PRESETS).note is None
    with pytest.raises(UnavailableError, match=r"m has no model-00002-of-00003\.safetensors"):
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
    with pytest.raises(ModelError, match="gptq, which synthetic weights cannot have"):
        absent.quantization(None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lama-8b", "did you mean .*llama-8b"),
        ("xyz", "choose from tiny, qwen2.5-0.5b, "),
        ("a/b/c", "there is no folder a/b/c: name one with a model's config.json, a preset, or "),
        ("./nope", "there is no folder ./nope: "),
        ("~/nope", "there is no folder ~/nope: "),
    ],
)
def test_an_unknown_name_says_what_is_near(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(name, NOWHERE, "auto", PRESETS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": 3}', "{", "\x00"])
def test_a_folder_that_is_not_a_model_is_named(tmp_path: Path, content: str) -> None:
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
    assert Model("a", "a", architecture=architecture).depth == depth


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | TEXTS.map(str.encode))
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


@pytest.mark.parametrize("weights", ["auto", "local", "hub"])
def test_a_cached_repository_is_local(
    tmp_path: Path, hub_cache: Path, weights: WeightsChoice
) -> None:
    snapshot = cached(bare_model(tmp_path / "m", LLAMA, shards=2), REPO, hub_cache)
    model = resolve(REPO, NOWHERE, weights, PRESETS)
    assert (model.name, model.title, model.weights) == ("My-Model", "My-Model", "local")
    assert model.folder == snapshot
    assert (model.depth, model.quantization(None), model.note) == (2, None, None)
    assert model.downloaded(pytest.fail) is model


def test_a_cached_repository_without_weights_gives_its_architecture(
    tmp_path: Path, hub_cache: Path
) -> None:
    cached(bare_model(tmp_path / "m", LLAMA), REPO, hub_cache, ["model.safetensors"])
    for weights in ("auto", "synthetic"):
        model = resolve(REPO, NOWHERE, weights, PRESETS)
        assert (model.weights, model.depth, model.note) == ("synthetic", 2, None)
    with pytest.raises(UnavailableError, match=r"has no model\*\.safetensors: add --yourai"):
        resolve(REPO, NOWHERE, "local", PRESETS)
    model = resolve(REPO, NOWHERE, "hub", PRESETS)
    assert (model.weights, model.folder, model.repo, model.depth) == ("hub", None, REPO, 2)


def test_an_incomplete_snapshot_is_not_there_and_the_missing_file_is_named(
    tmp_path: Path, hub_cache: Path
) -> None:
    shard = "model-00003-of-00003.safetensors"
    cached(bare_model(tmp_path / "m", LLAMA, shards=3), REPO, hub_cache, [shard])
    model = resolve(REPO, NOWHERE, "auto", PRESETS)
    assert model.weights == "synthetic"
    assert model.note == f"the weights of My-Model are synthetic: there is no {shard}"
    with pytest.raises(UnavailableError, match=rf"the cached {REPO}, has no {shard}: add --yourai"):
        resolve(REPO, NOWHERE, "local", PRESETS)


@pytest.mark.parametrize("weights", ["auto", "local", "synthetic"])
def test_a_repository_that_is_not_cached_is_refused_offline(weights: WeightsChoice) -> None:
    with pytest.raises(
        UnavailableError, match="not in the Hugging Face cache: add --yourai-weights"
    ):
        resolve(REPO, NOWHERE, weights, PRESETS)


def test_a_preset_takes_its_cached_repository(tmp_path: Path, hub_cache: Path) -> None:
    quantized = {**LLAMA, "quantization": {"bits": 8, "group_size": 64}}
    repo = "NousResearch/Hermes-3-Llama-3.1-70B"
    snapshot = cached(bare_model(tmp_path / "m", quantized), repo, hub_cache)
    model = resolve("hermes-70b", NOWHERE, "auto", PRESETS)
    assert (model.name, model.weights, model.folder) == ("hermes-70b", "local", snapshot)
    assert (model.depth, model.quantization(None)) == (2, Quantization(8))
    with pytest.raises(ModelError, match="quantized already .8-bit."):
        model.quantization(Quantization(4))
    made_up = resolve("hermes-70b", NOWHERE, "synthetic", PRESETS)
    assert (made_up.weights, made_up.depth, made_up.folder) == ("synthetic", 80, None)


def test_a_preset_that_is_not_cached_is_downloaded_later_or_refused() -> None:
    later = resolve("llama-8b", NOWHERE, "hub", PRESETS)
    assert (later.weights, later.depth) == ("hub", 32)
    assert later.repo == "mlabonne/Meta-Llama-3.1-8B-Instruct-abliterated"
    assert later.quantization(None) is None, "as the local weights that it will have"
    with pytest.raises(UnavailableError, match="weights of llama-8b are not on this machine: add"):
        resolve("llama-8b", NOWHERE, "local", PRESETS)


@pytest.mark.parametrize("weights", ["local", "hub"])
def test_an_architecture_alone_has_no_weights(weights: WeightsChoice) -> None:
    with pytest.raises(UnavailableError, match="tiny is an architecture without weights: use"):
        resolve("tiny", NOWHERE, weights, PRESETS)


def test_the_missing_folder_of_a_preset_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "gone: {path: gone}\nkept: {path: gone, architecture: {model_type: llama}}\nempty: {}\n"
    )
    presets = read_presets(path)
    with pytest.raises(UnavailableError, match=f"gone: there is no folder {tmp_path}/gone: fix"):
        resolve("gone", NOWHERE, "auto", presets)
    assert resolve("kept", NOWHERE, "auto", presets).weights == "synthetic"
    with pytest.raises(UnavailableError, match="kept: there is no folder"):
        resolve("kept", NOWHERE, "local", presets)
    with pytest.raises(ModelError, match="empty has no repo, path or architecture"):
        resolve("empty", NOWHERE, "auto", presets)


@pytest.mark.parametrize("weights", ["auto", "local", "synthetic"])
def test_a_preset_with_a_mistake_is_refused_by_its_place_in_the_file(
    tmp_path: Path, weights: WeightsChoice
) -> None:
    folder_with(tmp_path / "mine", LLAMA, weights=True)
    path = tmp_path / "models.yaml"
    path.write_text("a: {path: mine, architecture: x.json}\n")
    with pytest.raises(ModelError, match=r"models\.yaml:1: a\.architecture: ") as caught:
        resolve("a", NOWHERE, weights, read_presets(path))
    assert not isinstance(caught.value, UnavailableError)


def test_a_folder_wins_over_a_cached_repository_of_its_name(
    tmp_path: Path, hub_cache: Path
) -> None:
    cached(bare_model(tmp_path / "m", LLAMA), REPO, hub_cache)
    own = bare_model(tmp_path / REPO, {**LLAMA, "num_hidden_layers": 5})
    assert resolve(REPO, own, "auto", PRESETS).depth == 5


def test_a_small_preset_has_weights_in_4_bits_unless_others_are_asked_for(hub_cache: Path) -> None:
    as_usual = resolve("qwen3-0.6b", NOWHERE, "hub", PRESETS)
    assert as_usual.repo == "mlx-community/Qwen3-0.6B-4bit"
    assert as_usual.quantization(None) == Quantization(4)
    assert as_usual.origin == "mlx-community/Qwen3-0.6B-4bit: Qwen3 0.6B by Alibaba Cloud"
    for choice in ("none", Quantization(8)):
        asked = resolve("qwen3-0.6b", NOWHERE, "hub", PRESETS, choice)
        assert asked.repo == "Qwen/Qwen3-0.6B"
        assert asked.quantization(choice) == (None if choice == "none" else choice)
    synthetic = resolve("qwen3-0.6b", NOWHERE, "auto", PRESETS)
    assert (synthetic.weights, synthetic.quantization(None)) == ("synthetic", Quantization(4))
    assert resolve("tiny", NOWHERE, "auto", PRESETS).origin is None


def test_weights_that_are_cached_are_used_before_4_bits_that_are_not(
    tmp_path: Path, hub_cache: Path
) -> None:
    config = PRESETS["qwen3-0.6b"].architecture or {}
    cached(bare_model(tmp_path / "full", config), "Qwen/Qwen3-0.6B", hub_cache)
    full = resolve("qwen3-0.6b", NOWHERE, "auto", PRESETS)
    assert (full.weights, full.repo) == ("local", "Qwen/Qwen3-0.6B")
    quantized = {**config, "quantization": {"bits": 4, "group_size": 64}}
    repo = "mlx-community/Qwen3-0.6B-4bit"
    cached(bare_model(tmp_path / "4bit", quantized), repo, hub_cache)
    assert resolve("qwen3-0.6b", NOWHERE, "auto", PRESETS).repo == repo
