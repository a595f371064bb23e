"""`yourai show`: the rows of profiles, for people and for other programs."""

from __future__ import annotations

import argparse
import io
import sys
from typing import IO

from pytest_yourai.core.errors import OutputError
from pytest_yourai.report.export import formatted
from pytest_yourai.report.safe_stream import close_stream


def show(given: argparse.Namespace) -> int:
    """Print the rows of the profiles; a reader may close the pipe early."""
    text = formatted(given.profiles, given.format)
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
