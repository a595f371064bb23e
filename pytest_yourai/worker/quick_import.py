"""Lets transformers, which mlx-lm imports, read its own files once and quickly.

Its import looks through all its 1,700 files for the names they export, twice, line by line: most
of what it takes a worker to start.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_NAME = "transformers.utils.import_utils"


def import_transformers_quickly() -> None:
    """Call it before the first import of transformers."""
    if _NAME not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(  # type: ignore[method-assign]
                _execute, spec.loader.exec_module
            )
        return spec


def _execute(usual: Callable[[ModuleType], None], module: ModuleType) -> None:
    usual(module)
    for name, make in (
        ("create_import_structure_from_path", _by_folder),
        ("fetch__all__", _from_the_list_on),
    ):
        if callable(found := getattr(module, name, None)):
            setattr(module, name, make(found))


def _by_folder(usual: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Kept by folder; transformers names the same one as a Path, and as a file in it."""
    kept = functools.cache(usual)

    def found(path: Any) -> Any:
        return kept(os.fspath(path).removesuffix(f"{os.sep}__init__.py"))

    return found


def _from_the_list_on(usual: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Looks at the lines from the last `__all__` on, which is near the end of a file."""

    def found(text: str) -> list[str]:
        return usual(text[text.rfind("\n__all__") + 1 :])

    return found
