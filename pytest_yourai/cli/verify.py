"""`yourai verify`: whether what is measured and predicted is right on this machine."""

from __future__ import annotations

import argparse
import sys

from pytest_yourai.report.safe_stream import close_stream, open_missing_streams, safe_stream
from pytest_yourai.verify.command import run


def verify(given: argparse.Namespace) -> int:
    """Verify; 1 if a line failed."""
    open_missing_streams()
    try:
        return int(not run(given.output, "--output", safe_stream(sys.stdout)))
    finally:
        close_stream(sys.stdout)
