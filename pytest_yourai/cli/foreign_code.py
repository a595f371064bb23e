"""Keeps a PYTHONPATH from running code of the model and data folders that a command names."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_yourai.models.foreign_folders import (
    DATA_MARK,
    MODEL_MARK,
    entries_in,
    listed_folders,
    marked_folders,
    without_entries,
)
from pytest_yourai.plan.recipe_folders import recipe_folders
from pytest_yourai.store.profile_folders import profile_folders


def leave_foreign_code(given: argparse.Namespace) -> None:
    """Take them off the paths where this process, and what it starts, find modules."""
    if _value(given, "trust_remote_code"):
        return
    here = Path()
    _take_off(marked_folders(_texts(given, "model"), here, MODEL_MARK))
    _take_off(marked_folders(_texts(given, "data"), here, DATA_MARK))
    # Reading a file imports packages, and so comes last.
    _take_off(listed_folders(_texts(given, "models"), here))
    _take_off(recipe_folders(_texts(given, "config"), here))
    _take_off(profile_folders(_texts(given, "profile"), here))


def _take_off(found: Iterable[Path]) -> None:
    folders = list(found)
    left_out = entries_in(sys.path, folders)
    sys.path[:] = [entry for entry in sys.path if entry not in left_out]
    if path := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = without_entries(path, folders)


def _value(given: argparse.Namespace, name: str) -> Any:
    """The value of a flag; those of pytest's commands have the names of ini keys."""
    return getattr(given, name, None) or getattr(given, f"yourai_{name}", None)


def _texts(given: argparse.Namespace, name: str) -> list[str]:
    value = _value(given, name)
    if not value:
        return []
    return [*value] if isinstance(value, list) else [str(value)]
