"""`yourai train`: from flags to settings, which are printed, and to the run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import IO

from pytest_yourai.cli.parser import USAGE_STATUS, in_own_words, print_error
from pytest_yourai.core.errors import InputError, SweepFailedError
from pytest_yourai.report.safe_stream import close_stream, open_missing_streams, safe_stream
from pytest_yourai.training.options import TrainOptions
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.settings import TrainSettings

_PROGRAM = "yourai train"

_FAILED_STATUS = 1


def train(given: argparse.Namespace) -> int:
    """Train as the flags in `given` say; the exit status.

    Nothing that happens to stdout ends it.
    """
    open_missing_streams()
    stream = safe_stream(sys.stdout)
    try:
        return _train(given, stream)
    finally:
        close_stream(sys.stdout)


def _train(given: argparse.Namespace, stream: IO[str]) -> int:
    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    values = {name: value for name, value in vars(given).items() if name != "command"}
    try:
        settings = train_settings(TrainOptions(**values), say)
        for line in lines(settings):
            say(line)
        from pytest_yourai.training.train import run_training  # noqa: PLC0415 - after all checks

        return run_training(settings, stream)
    except InputError as problem:
        print_error(_PROGRAM, str(problem))
        return USAGE_STATUS
    except SweepFailedError as problem:
        print_error(_PROGRAM, str(problem))
        return _FAILED_STATUS


def lines(settings: TrainSettings) -> Iterator[str]:
    """What is used and where it comes from, aligned; then what there is to warn of."""
    names = max(len(each.name) for each in settings.used)
    values = max(len(each.value) for each in settings.used)
    for each in settings.used:
        yield f"  {each.name:<{names}}  {each.value:<{values}}  {each.origin}"
    for warning in settings.warnings:
        yield f"Warning: {in_own_words(warning)}"
