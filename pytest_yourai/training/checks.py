"""Checks of a training run that come before any model is read."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path

from pytest_yourai.core.errors import DataError, OptionError, OutputError
from pytest_yourai.core.files import TEMPORARY_PREFIX
from pytest_yourai.models.dataset_checks import RowFormat, check_folder
from pytest_yourai.training.options import TrainOptions

_SERVICES = ("wandb", "swanlab")
"""Services that mlx-lm reports to, by the names of their packages."""


def check_train_combinations(options: TrainOptions) -> None:
    """OptionError if flags contradict each other."""
    if options.profile and options.auto_optimize:
        raise OptionError(
            "--profile and --auto-optimize both choose the configuration: leave one out"
        )
    if options.resume and options.auto_optimize:
        raise OptionError(
            "--resume continues with the configuration of the checkpoint: leave --auto-optimize out"
        )
    for name, value in (("--quick", options.quick), ("--matrix", options.matrix)):
        if value and not options.auto_optimize:
            raise OptionError(
                f"{name} is for the sweep before training: add --auto-optimize, or leave it out"
            )
    if options.quick and options.matrix:
        raise OptionError("--quick and --matrix both name a matrix: leave one out")
    is_reported = options.report_to is not None or options.resume
    if options.project_name is not None and not is_reported:
        raise OptionError("--project-name needs a service to report to: add --report-to")


def check_report_to(names: str) -> None:
    """OptionError if one of the services is unknown or not installed."""
    for name in (each.strip().lower() for each in names.split(",")):
        if name not in _SERVICES:
            raise OptionError(
                f"--report-to: mlx-lm does not report to {name!r}: name {', '.join(_SERVICES)}, or "
                "both with a comma between"
            )
        if importlib.util.find_spec(name) is None:
            raise OptionError(f"--report-to: {name} is not installed: pip install {name}")


def check_adapter_path(path: Path) -> None:
    """OutputError if no files can be written into that folder; it need not exist."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise OutputError(f"--adapter-path: {there} is not a folder: name another")
    try:
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=there):
            pass
    except OSError as problem:
        raise OutputError(
            f"--adapter-path: {path} cannot be written: {problem.strerror}; name another"
        ) from None


def inspect_rows(data: str, *, mask_prompt: bool) -> int | None:
    """The number of training rows in the folder `data`; None for a data set of the hub.

    DataError if mlx-lm would fail at one of them.
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
    """DataError if a step needs more rows; `origin` is where its batch size comes from."""
    if rows is not None and rows < batch_size:
        raise DataError(
            f"--data: {rows} rows are fewer than the batch size of {batch_size} ({origin}): add "
            f"rows, or give a --batch-size of at most {rows}"
        )
