"""What a worker changes in the import of transformers, on a package made like it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from pytest_yourai.worker.quick_import import import_transformers_quickly

READER = """
SEEN = []

def fetch__all__(text):
    SEEN.append(text)
    return ["A"]

def create_import_structure_from_path(path):
    SEEN.append(path)
    return {"path": path}
"""


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets a package of one reader stand in for transformers."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)
    utils = tmp_path / "transformers" / "utils"
    utils.mkdir(parents=True)
    for folder in (utils, utils.parent):
        (folder / "__init__.py").touch()
    (utils / "import_utils.py").write_text(READER)
    names = ["transformers", "transformers.utils", "transformers.utils.import_utils"]
    for name in names:
        # They go again afterwards.
        monkeypatch.setitem(sys.modules, name, sys)
        del sys.modules[name]
    return names


def test_a_folder_is_read_once_and_a_list_from_its_line_on(names: list[str]) -> None:
    finders = len(sys.meta_path)
    import_transformers_quickly()
    reader = importlib.import_module(names[-1])
    assert len(sys.meta_path) == finders
    for path in (Path("/t/models"), "/t/models", "/t/models/__init__.py"):
        assert reader.create_import_structure_from_path(path) == {"path": "/t/models"}
    assert reader.fetch__all__('"""__all__"""\nx = 1\n__all__ = ["A"]\n') == ["A"]
    assert reader.fetch__all__('__all__ = ["A"]\n') == ["A"]
    assert reader.SEEN == ["/t/models", '__all__ = ["A"]\n', '__all__ = ["A"]\n']


def test_without_these_functions_it_is_imported_as_it_is(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "transformers" / "utils" / "import_utils.py").write_text("x = 1\n")
    import_transformers_quickly()
    assert importlib.import_module(names[-1]).x == 1


def test_once_imported_it_is_left_alone(names: list[str]) -> None:
    reader = importlib.import_module(names[-1])
    finders = [*sys.meta_path]
    import_transformers_quickly()
    assert sys.meta_path == finders
    assert reader.fetch__all__.__module__ == names[-1]
