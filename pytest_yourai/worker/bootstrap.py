"""`python -P bootstrap.py MODULE ARGUMENT...`: runs `main` of a module of the package it lies in.

What the user's project has on PYTHONPATH or beside it hides neither this package nor MLX: of
PYTHONPATH, which the parent hands over under another name, only folders of installed packages
and checkouts of MLX's own count.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

PACKAGE = "pytest_yourai"


def _import_package() -> None:
    """Import the package from the folder that this file is in, which is not on the path."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    spec = importlib.util.spec_from_file_location(
        PACKAGE,
        os.path.join(folder, "__init__.py"),  # noqa: PTH118 - pathlib is slow to import
        submodule_search_locations=[folder],
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} has no {PACKAGE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def _take_over_path() -> None:
    from pytest_yourai.core import worker_variables  # noqa: PLC0415 - just imported
    from pytest_yourai.core.checkouts import path_entries, trusted_folders  # noqa: PLC0415

    entries = path_entries(os.environ.get(worker_variables.PATH))
    # An engine of the tests is no installed package.
    is_for_tests = worker_variables.TEST_ENGINE in os.environ
    sys.path[:0] = entries if is_for_tests else trusted_folders(entries)


def main() -> None:
    _import_package()
    _take_over_path()
    module = importlib.import_module(f"{PACKAGE}.{sys.argv.pop(1)}")
    module.main()


if __name__ == "__main__":
    main()
