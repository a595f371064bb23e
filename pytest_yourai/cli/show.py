"""`yourai show`: the rows of profiles, for people and for other programs."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import IO

from pytest_yourai.core.errors import OptionError, OutputError
from pytest_yourai.report.export import formatted
from pytest_yourai.report.safe_stream import close_stream

_NAMES = ("optimal_config.json", "benchmark_results.json")
"""Profiles as sweeps and walks name them, unless --output does."""


def _profiles_here() -> list[Path]:
    """Those in the current folder; OptionError if there is none."""
    found = [path for path in map(Path, _NAMES) if path.exists()]
    if not found:
        raise OptionError(f"there is no {' or '.join(_NAMES)} here: name a profile")
    return found


def show(given: argparse.Namespace) -> int:
    """Print the rows of the profiles; a reader may close the pipe early."""
    text = formatted(given.profiles or _profiles_here(), given.format)
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
        raise OutputError(f"stdout cannot be written: {problem.strerror}; make room") from None
    finally:
        close_stream(stream)
    return 0
