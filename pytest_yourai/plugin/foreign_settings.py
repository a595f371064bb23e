"""Refuses settings of pytest that lie in a model or data folder: they can run any code.

pytest reads them in the folder where it was started, and beside what it takes for a path of tests.
Kept light: every pytest run imports it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pytest_yourai.core.checkouts import path_entries
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.paths import is_folder, without_links
from pytest_yourai.models.foreign_folders import (
    DATA_MARK,
    MODEL_MARK,
    entries_in,
    listed_folders,
    marked_folders,
)
from pytest_yourai.plan.recipe_folders import recipe_folders
from pytest_yourai.plugin.ini_values import ini_texts

_TRUST = "--yourai-trust-remote-code"

_KEYS: dict[str, Callable[[Iterable[str], Path], Iterator[Path]]] = {
    "yourai_model": partial(marked_folders, mark=MODEL_MARK),
    "yourai_data": partial(marked_folders, mark=DATA_MARK),
    "yourai_models": listed_folders,
    "yourai_config": recipe_folders,
}
"""Keys whose value may lead to a folder of another's making."""


def named_folders(config: pytest.Config) -> Iterator[Path]:
    """The model and data folders that flags or ini keys name, before pytest has parsed them.

    A folder in which the ini file that names it lies is the project's own: no flag led there.
    """
    for key, folders in _KEYS.items():
        given = getattr(config.known_args_namespace, key, None)
        if given:
            texts, start = list(given), config.invocation_params.dir
        else:
            texts = ini_texts(config, key)
            start = config.inipath.parent if config.inipath else config.invocation_params.dir
        is_of_project = not given and not _is_overridden(config, key)
        for folder in folders(texts, start):
            if not is_of_project or not without_links(start).is_relative_to(without_links(folder)):
                yield folder


def _is_overridden(config: pytest.Config, key: str) -> bool:
    """True if -o names the ini key."""
    given = config.known_args_namespace.override_ini or ()
    return any(each.partition("=")[0].strip() == key for each in given)


def refuse_settings_in(config: pytest.Config, folders: Iterable[Path]) -> None:
    """OptionError if pytest takes settings or a conftest.py from one of `folders`.

    Trust counts on the command line alone: the settings themselves could claim it.
    """
    if _TRUST in config.invocation_params.args:
        return
    for folder in folders:
        for path in (*_settings_in(config, folder), *_conftests_in(config, folder)):
            raise OptionError(
                f"{path} is in a model or data folder, and pytest would run its code: start pytest "
                "in another folder, with = before each path, keep rows and weights in a folder of "
                f"their own, or add {_TRUST} if you trust it"
            )
        for entry in entries_in(path_entries(os.environ.get("PYTHONPATH")), [folder]):
            raise OptionError(
                f"PYTHONPATH has {entry}, which is in a model or data folder, and Python would run "
                f"its code: leave it out, or add {_TRUST} if you trust it"
            )


def _settings_in(config: pytest.Config, folder: Path) -> Iterator[Path]:
    """The ini file, if it lies in `folder`, or was found only on the way up from there."""
    is_chosen = bool(config.known_args_namespace.inifilename)
    if config.inipath is None or is_chosen or not _has_settings(config.inipath):
        return
    has_settings = without_links(config.inipath.parent)
    is_in_folder = has_settings.is_relative_to(without_links(folder))
    is_above = without_links(folder).is_relative_to(has_settings)
    starts = (config.invocation_params.dir, *_test_paths(config))
    is_of_tests = any(without_links(start).is_relative_to(has_settings) for start in starts)
    if is_in_folder or (is_above and not is_of_tests):
        yield config.inipath


def _has_settings(path: Path) -> bool:
    """False for a pyproject.toml with nothing for pytest, which is taken all the same."""
    if path.name != "pyproject.toml":
        return True
    return "pytest" in tomllib.loads(path.read_text("utf-8")).get("tool", {})


def _conftests_in(config: pytest.Config, folder: Path) -> Iterator[Path]:
    """The files that pytest imports before it collects anything."""
    if config.known_args_namespace.noconftest:
        return
    top = without_links(folder)
    for start in _test_paths(config) or [config.invocation_params.dir]:
        here = without_links(start)
        for place in (here, *here.parents):
            if place.is_relative_to(top) and (place / "conftest.py").is_file():
                yield place / "conftest.py"
        if here.is_relative_to(top) and is_folder(here):
            yield from here.glob("test*/conftest.py")


def _test_paths(config: pytest.Config) -> list[Path]:
    given = config.known_args_namespace.file_or_dir or []
    paths = (config.invocation_params.dir / each.partition("::")[0] for each in given)
    return [path for path in paths if path.exists()]
