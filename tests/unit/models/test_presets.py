from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import matrices_folder, packaged_models
from pytest_yourai.models.presets import PackagedMatrix, read_presets
from pytest_yourai.plan.matrix import read_matrix

PRESETS = read_presets(packaged_models())


def test_the_packaged_presets_stand_smallest_first() -> None:
    assert list(PRESETS) == [
        "tiny",
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]


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


MODELS_TEXT = st.text() | st.from_regex(
    r"(a|tiny): ?\{?(repo|path|params|architecture|defaults): .{0,20}\}?\n", fullmatch=True
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=MODELS_TEXT)
def test_no_text_gives_anything_but_presets_or_a_model_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert read_presets(path)
    except ModelError as problem:
        assert str(tmp_path) in str(problem)  # noqa: PT017 - both ways are right, nothing else is


def test_all_but_tiny_are_in_the_walk_over_all_models() -> None:
    assert [name for name, preset in PRESETS.items() if not preset.walk] == ["tiny"]


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
