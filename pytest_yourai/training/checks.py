"""What can be wrong with a training run before any model is looked at."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path

from pytest_yourai.core.errors import DataError, OptionError, OutputError
from pytest_yourai.core.files import TEMPORARY_PREFIX
from pytest_yourai.models.dataset_checks import RowFormat, check_folder

_SERVICES = ("wandb", "swanlab")
"""What mlx-lm reports to, by the names of their packages."""


def check_report_to(names: str) -> None:
    """OptionError where one of them is unknown or not installed."""
    for name in (each.strip().lower() for each in names.split(",")):
        if name not in _SERVICES:
            raise OptionError(
                f"--report-to: {name!r} is no service that mlx-lm reports to: name "
                f"{', '.join(_SERVICES)}, or both with a comma between"
            )
        if importlib.util.find_spec(name) is None:
            raise OptionError(f"--report-to: {name} is not installed: pip install {name}")


def check_adapter_path(path: Path) -> None:
    """OutputError where no files can be written into that folder; it need not exist."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise OutputError(f"--adapter-path: {there} is no folder: name another")
    try:
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=there):
            pass
    except OSError as problem:
        raise OutputError(
            f"--adapter-path: {path} cannot be written: {problem.strerror}; name another"
        ) from None


def inspect_rows(data: str, *, mask_prompt: bool) -> int | None:
    """How many rows the training set in the folder `data` has; None for a data set of the hub.

    DataError where mlx-lm would fail at one of them.
    """
    folder = Path(data)
    if not folder.is_absolute():
        return None
    check_folder(folder)
    path = folder / "train.jsonl"
    with path.open(encoding="utf-8") as lines:
        first = json.loads(next(lines))
        rows = 1 + sum(1 for _ in lines)
    if mask_prompt and RowFormat.of(first) is RowFormat.TEXT:
        raise DataError(
            f"--mask-prompt: {path} has rows of text, which have no prompt: leave it out"
        )
    return rows


def check_rows(rows: int | None, batch_size: int, origin: str) -> None:
    """DataError where there are fewer rows than a step takes; `origin` says who chose that."""
    if rows is not None and rows < batch_size:
        raise DataError(
            f"--data: {rows} rows are fewer than the batch size of {batch_size} ({origin}): add "
            f"rows, or give a --batch-size of at most {rows}"
        )
