from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import matrices_folder, packaged_models
from pytest_yourai.core.units import parameter_count
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.presets import PackagedMatrix, read_presets
from pytest_yourai.plan.matrix import read_matrix

from support.texts import TEXTS, matching

PRESETS = read_presets(packaged_models())


def test_the_packaged_presets_stand_smallest_first() -> None:
    assert list(PRESETS) == [
        "tiny",
        "qwen2.5-0.5b",
        "qwen3-0.6b",
        "gemma3-1b",
        "llama3.2-1b",
        "qwen3-1.7b",
        "smollm3-3b",
        "llama3.2-3b",
        "gemma3-4b",
        "qwen3-4b",
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]


PUBLISHED = {
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "gemma3-1b": 999_885_952,
    "llama3.2-1b": 1_235_814_400,
    "qwen3-1.7b": 1_720_574_976,
    "smollm3-3b": 3_075_098_624,
    "llama3.2-3b": 3_212_749_824,
    "gemma3-4b": 3_880_099_328,
    "qwen3-4b": 4_022_468_096,
    "hermes-mistral-7b": 7_242_000_000,
    "dolphin-8b": 8_030_000_000,
    "llama-8b": 8_030_261_248,
    "r1-distill-14b": 14_770_033_664,
    "hermes-70b": 70_553_706_496,
}
"""Parameters as the model cards, and the headers of the published weights, count them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_of_a_preset_give_the_published_number_of_parameters(name: str) -> None:
    preset = PRESETS[name]
    count = read_architecture_shapes(preset.architecture or {}).parameters
    assert count == pytest.approx(PUBLISHED[name], rel=0.01)
    assert parameter_count(preset.params or "") == pytest.approx(count, rel=0.06)


def test_each_preset_tells_what_it_is_and_those_without_refusals_say_so() -> None:
    assert list(PUBLISHED) == list(PRESETS)[1:]
    for name, preset in PRESETS.items():
        assert preset.about, name
        assert (preset.repo is None) == (name == "tiny")
        changed = any(word in (preset.repo or "").lower() for word in ("abliterated", "dolphin"))
        assert ("refusals" in preset.about) == changed
        if "hermes" in name:
            assert "a tune of" in preset.about


def test_small_presets_are_out_of_the_walk_and_have_weights_in_4_bits() -> None:
    small = [each for each in PRESETS.values() if each.repo_4bit]
    assert len(small) == 9
    for preset in small:
        assert not preset.walk
        assert (preset.repo_4bit or "").startswith("mlx-community/")
        assert preset.repo_for(None) == preset.repo_for(Quantization(4)) == preset.repo_4bit
        assert preset.repo_for("none") == preset.repo_for(Quantization(8)) == preset.repo
    assert PRESETS["llama-8b"].repo_for(None) == PRESETS["llama-8b"].repo


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not a list of models"),
        ("a: {repo: x/y, size: 7B}\n", "models.yaml:1: a.size: unknown key"),
        ("a: {repo: y}\n", "models.yaml:1: a.repo: it must be a repository .* as owner/name"),
        ("a: {walk: never}\n", "models.yaml:1: a.walk: "),
        ("a: {repo: x/y, params: seven}\n", "a.params: 'seven' is not a number of parameters"),
        (
            "a: {architecture: {hidden_size: 8}}\n",
            "models.yaml:1: a.architecture: it must have a model_",
        ),
        ("a:\n  defaults:\n    quantize: 9\n", "models.yaml:3: a.defaults.quantize: it must be"),
        (
            "a:\n  defaults:\n    quick_matrix: safe\n",
            "models.yaml:3: a.defaults.quick_matrix: .*'low-memory'.* .found 'safe'.",
        ),
    ],
)
def test_mistakes_in_a_models_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_presets(tmp_path / "models.yaml")


def test_a_models_file_that_is_not_there_is_called_what_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not exist: name a list of models that does"):
        read_presets(tmp_path / "x.yaml")
    with pytest.raises(ModelError, match="cannot be read as a list of models: "):
        read_presets(tmp_path)


@pytest.mark.parametrize("name", get_args(PackagedMatrix))
def test_every_quick_matrix_that_may_be_named_is_packaged(name: str) -> None:
    assert read_matrix(matrices_folder() / f"{name}.yaml").axes["batch_size"]


def test_an_architecture_that_cannot_be_read_is_the_mistake_of_its_own_entry(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("a: {path: mine}\nb:\n  architecture: x.json\n")
    presets = read_presets(path)
    assert presets["a"].mistake is None
    assert presets["b"].mistake == (
        f"{path}:3: b.architecture: {tmp_path} is not a model: it has no x.json; name a folder as "
        "mlx-lm loads it"
    )


MODELS_TEXT = TEXTS | matching(
    r"(a|tiny): ?\{?(repo|path|params|architecture|defaults): .{0,20}\}?\n"
)


@pytest.mark.repeats
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=MODELS_TEXT)
def test_no_text_gives_anything_but_presets_or_a_model_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert read_presets(path)
    except ModelError as problem:
        assert str(tmp_path) in str(problem)  # noqa: PT017 - both ways are right, nothing else is


def test_large_presets_are_in_the_walk_over_all_models() -> None:
    walked = [name for name, preset in PRESETS.items() if preset.walk]
    assert walked == ["hermes-mistral-7b", "dolphin-8b", "llama-8b", "r1-distill-14b", "hermes-70b"]


def test_a_path_is_relative_to_its_file_or_to_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    path = tmp_path / "models.yaml"
    path.write_text(
        "a: {path: mine}\nb: {path: ~/mine}\nc: {repo: owner/Mine-7B, walk: false}\n"
        "d: {path: ~nobody-of-this-name/mine}\n"
    )
    presets = read_presets(path)
    assert presets["a"].folder == tmp_path / "mine"
    assert presets["b"].folder == Path("/home/someone/mine")
    assert presets["d"].folder == tmp_path / "~nobody-of-this-name/mine"
    c = presets["c"]
    assert (c.repo, c.title, c.walk) == ("owner/Mine-7B", "Mine-7B", False)
