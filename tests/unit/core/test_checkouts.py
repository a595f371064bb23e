"""A user's own checkout of mlx-lm on PYTHONPATH is used; a project's files of its name are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_yourai.core.checkouts import (
    checkout_notes,
    checkouts,
    path_entries,
    trusted_folders,
)


def make_package(folder: Path, name: str = "mlx_lm") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("from ._version import __version__\n")
    (folder / name / "_version.py").write_text('__version__ = "0.33.0"\n')
    return folder


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("setup.py", 'setup(\n    name="mlx-lm",\n)\n'),
        ("pyproject.toml", "[project]\nname = 'mlx_lm'  # ours\n"),
        ("setup.cfg", "[metadata]\nname = mlx-lm\n"),
    ],
)
def test_a_checkout_is_used_and_named(tmp_path: Path, file: str, text: str) -> None:
    folder = make_package(tmp_path / "mlx-lm")
    (folder / file).write_text(text)
    entries = ["", "/no/such/folder", str(folder)]
    assert trusted_folders(entries) == [str(folder)]
    assert [each.version for each in checkouts(entries)] == ["0.33.0+checkout"]
    [note] = checkout_notes(entries)
    assert note == f"mlx-lm is that of {folder}, which is on PYTHONPATH"


def test_a_checkout_may_have_its_packages_in_src(tmp_path: Path) -> None:
    source = make_package(tmp_path / "src", "transformers")
    (tmp_path / "setup.py").write_text('    name="transformers",\n')
    (source / "transformers" / "_version.py").unlink()
    [found] = checkouts([str(source)])
    assert (found.name, found.version) == ("transformers", "0+checkout")


@pytest.mark.parametrize("text", ["", 'name = "my-project"\n', 'dependencies = ["mlx-lm"]\n'])
def test_a_projects_own_folder_is_not_used_and_named(tmp_path: Path, text: str) -> None:
    folder = make_package(tmp_path / "project")
    (folder / "pyproject.toml").write_text(text)
    assert trusted_folders([str(folder)]) == []
    [note] = checkout_notes([str(folder)])
    assert note.startswith(f"{folder / 'mlx_lm'} is on PYTHONPATH and not used: ")


@pytest.mark.parametrize("entry", [".", "", "link"])
def test_the_current_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    folder = make_package(tmp_path / "mlx-lm")
    (folder / "setup.py").write_text('name="mlx-lm",\n')
    (folder / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    assert checkouts([entry]) == []


def test_installed_packages_need_no_note(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    (folder / "mlx_lm-0.33.0.dist-info").mkdir()
    assert trusted_folders([str(folder)]) == [str(folder)]
    assert not list(checkout_notes([str(folder)]))


def test_a_project_file_that_cannot_be_read_declares_nothing(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    os.mkfifo(folder / "setup.py")
    (folder / "pyproject.toml").write_bytes(b"\xff\xfe")
    assert checkouts([str(folder)]) == []


@pytest.mark.parametrize(
    "entry", ["x" * 5000, "/dev/null", "/dev/null/x", "loop", "\udcff", "a\nb"]
)
def test_what_can_be_no_folder_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert checkouts([entry]) == []
    assert trusted_folders([entry]) == []
    assert list(checkout_notes([entry])) == []


def test_an_empty_entry_is_the_current_folder() -> None:
    assert path_entries(f"a{os.pathsep}{os.pathsep}b") == ["a", ".", "b"]
    assert path_entries("") == path_entries(None) == []
