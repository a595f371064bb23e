"""A project's own files hide no installed package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.installed import import_installed, installed_folders

NAME = "yourai_test_package"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package, last on the path, behind a project that has a file of its name."""
    packages, project = tmp_path / "packages", tmp_path / "project"
    (packages / f"{NAME}-1.dist-info").mkdir(parents=True)
    (packages / f"{NAME}.py").write_text("is_installed = True\n")
    project.mkdir()
    (project / f"{NAME}.py").write_text("is_installed = False\n")
    monkeypatch.setattr(sys, "path", [str(project), *sys.path, str(packages)])
    yield packages
    sys.modules.pop(NAME, None)


def test_the_installed_package_is_taken(installed: Path) -> None:
    path = list(sys.path)
    import_installed([NAME, "yourai_no_such_package"])
    assert sys.modules[NAME].is_installed
    assert sys.path == path


def test_a_file_that_was_imported_in_its_place_is_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    __import__(NAME)
    with pytest.raises(OptionError) as caught:
        import_installed([NAME])
    assert str(caught.value).startswith(str(installed.parent / "project" / f"{NAME}.py"))
    assert f"in place of the installed package {NAME}: rename it" in str(caught.value)


def test_what_hides_nothing_is_not_imported_before_it_is_needed(installed: Path) -> None:
    sys.path.pop(0)
    import_installed([NAME])
    assert NAME not in sys.modules


def test_only_folders_of_packages_count(installed: Path) -> None:
    project = str(installed.parent / "project")
    assert installed_folders(["", project, str(installed), "/no/such/folder"]) == [str(installed)]


def test_a_folder_that_cannot_be_looked_at_has_no_packages() -> None:
    assert installed_folders(["/" + "x" * 5000]) == []
