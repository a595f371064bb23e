"""`yourai train`: prints the settings, then runs the training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import IO

from pytest_yourai.cli.parser import print_error
from pytest_yourai.core.errors import SweepFailedError
from pytest_yourai.plan.short_commands import in_own_words
from pytest_yourai.report.safe_stream import (
    close_stream,
    open_missing_streams,
    print_lines,
    safe_stream,
)
from pytest_yourai.training.options import TRAIN_OPTIONS
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.run_folder import locked
from pytest_yourai.training.settings import TrainSettings
from pytest_yourai.training.start import completed

_FAILED_STATUS = 1


def train(given: argparse.Namespace) -> int:
    """Train with the flags in `given`; the exit status, whatever happens to stdout meanwhile."""
    open_missing_streams()
    stream = safe_stream(sys.stdout)
    try:
        return _train(given, stream)
    except SweepFailedError as problem:
        print_error("yourai train", str(problem))
        return _FAILED_STATUS
    finally:
        close_stream(sys.stdout)


def _train(given: argparse.Namespace, stream: IO[str]) -> int:
    def print_line(line: str) -> None:
        print_lines(stream, line)

    values = {each: value for each, value in vars(given).items() if each in TRAIN_OPTIONS}
    options = completed(values)
    with locked(options.adapter_path) as journal:
        settings = train_settings(options, print_line)
        for line in lines(settings):
            print_line(line)
        from pytest_yourai.training.train import run_training  # noqa: PLC0415 - after all checks

        return run_training(settings, journal, stream)


def lines(settings: TrainSettings) -> Iterator[str]:
    """The values of a run and where they come from, aligned; then the warnings."""
    names = max(len(each.name) for each in settings.used)
    values = max(len(each.value) for each in settings.used)
    for each in settings.used:
        yield f"  {each.name:<{names}}  {each.value:<{values}}  {each.origin}"
    for warning in settings.warnings:
        yield f"Warning: {in_own_words(warning)}"
