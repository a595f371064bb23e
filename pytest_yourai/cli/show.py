"""`yourai show`: the rows of profiles on stdout, for people, spreadsheets and programs."""

from __future__ import annotations

import argparse
import io
import sys
from typing import IO

from pytest_yourai.cli.parser import USAGE_STATUS, print_error
from pytest_yourai.errors import RecordingError
from pytest_yourai.report.formats import formatted
from pytest_yourai.report.lasting_stream import settle


def show(given: argparse.Namespace) -> int:
    """Print what `given` asks for; the exit status."""
    try:
        text = formatted(given.profiles, given.format)
    except RecordingError as problem:
        print_error("yourai show", str(problem))
        return USAGE_STATUS
    return _write(text)


def _write(text: str) -> int:
    """Whoever stops reading has what they want; a disk that is full has not."""
    stream: IO[str] | None = sys.stdout
    if stream is None:
        return 0
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        return 0
    except OSError as problem:
        print_error("yourai show", f"stdout cannot be written: {problem.strerror}; make room")
        return USAGE_STATUS
    finally:
        settle(stream)
    return 0
