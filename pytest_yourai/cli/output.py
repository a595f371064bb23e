"""Text for stdout that is made for other programs as well."""

from __future__ import annotations

import io
import sys
from typing import IO

from pytest_yourai.core.errors import OutputError
from pytest_yourai.report.safe_stream import close_stream


def print_text(text: str) -> None:
    """Print `text` as it is, in UTF-8; a reader may close the pipe early."""
    stream: IO[str] | None = sys.stdout
    if stream is None:
        return
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", newline="")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        return
    except OSError as problem:
        raise OutputError(f"stdout cannot be written: {problem.strerror}; make room") from None
    finally:
        close_stream(stream)
