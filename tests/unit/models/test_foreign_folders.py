from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_yourai.models.foreign_folders import (
    DATA_MARK,
    MODEL_MARK,
    entries_in,
    listed_folders,
    marked_folders,
    without_entries,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_what_has_the_files_of_a_model_or_of_data_is_found(tmp_path: Path, model: Path) -> None:
    texts = ["tiny", " model ", "", "nul\0", "x" * 5000, str(model)]
    assert list(marked_folders(texts, tmp_path, MODEL_MARK)) == [model, model]
    assert list(marked_folders(texts, tmp_path, DATA_MARK)) == []


def test_folders_in_lists_of_models_are_found(tmp_path: Path, model: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "mine.yaml").write_text(
        "mine: {path: ../model}\nother: {path: ./gone}\nthird: {repo: owner/name}\n"
    )
    (lists / "broken.yaml").write_text("mine: [")
    texts = ["lists/broken.yaml", "lists/mine.yaml", "lists/gone.yaml", "nul\0"]
    found = list(listed_folders(texts, tmp_path))
    assert [each.resolve() for each in found] == [model]


def test_a_path_of_modules_keeps_what_lies_elsewhere(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, beside = model / "code.zip", model.parent / "model2"
    link = model.parent / "link"
    link.symlink_to(model)
    path = os.pathsep.join(map(str, ("", model, inside, link, beside, "/packages")))
    assert entries_in([str(link), str(beside)], [model]) == [str(link)]
    left = os.pathsep.join((".", str(beside), "/packages"))
    assert without_entries(path, [model]) == left
    monkeypatch.chdir(model)
    assert without_entries(path, [model]) == os.pathsep.join((str(beside), "/packages"))
    assert without_entries("", [model]) == ""
