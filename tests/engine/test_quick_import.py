"""transformers exports the same, however quickly its files are read."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers.utils import import_utils

from pytest_yourai.worker.quick_import import _by_folder, _from_the_list_on

MODELS = Path(transformers.__file__).parent / "models"


def test_each_file_exports_the_same() -> None:
    texts = [path.read_text() for path in sorted(MODELS.rglob("[a-b]*/*.py"))]
    usual = [import_utils.fetch__all__(text) for text in texts]
    assert sum(map(bool, usual)) > 20
    assert [_from_the_list_on(import_utils.fetch__all__)(text) for text in texts] == usual


def test_a_folder_has_the_same_structure_by_each_of_its_names() -> None:
    folder = MODELS / "llama"
    usual = import_utils.create_import_structure_from_path(folder)
    assert usual
    quick = _by_folder(import_utils.create_import_structure_from_path)
    assert quick(str(folder / "__init__.py")) == usual
    assert quick(folder) == usual
