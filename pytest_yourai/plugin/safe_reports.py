"""Reports of items, made fit for a screen: pytest prints them, and writes them into JUnit XML."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.sanitize import screen_text
from pytest_yourai.worker.run_record import Output


def make_safe(report: pytest.TestReport) -> None:
    """Take secrets, control characters and commands out of why an item failed or was skipped."""
    report.longrepr = safe_text(report.longrepr)
    if hasattr(report, "wasxfail"):
        report.wasxfail = screen_text(str(report.wasxfail))


def safe_text(longrepr: Any) -> Any:
    """Text, the place and reason of a skip, or a traceback, whose parts are changed in place."""
    if isinstance(longrepr, str):
        return screen_text(longrepr)
    if isinstance(longrepr, tuple):
        return tuple(screen_text(each) if isinstance(each, str) else each for each in longrepr)
    # A traceback in Python's own style is no chain.
    own = (getattr(longrepr, "reprtraceback", None), getattr(longrepr, "reprcrash", None), None)
    for traceback, crash, _ in getattr(longrepr, "chain", (own,)):
        for entry in getattr(traceback, "reprentries", ()):
            entry.lines = [screen_text(line) for line in entry.lines]
            arguments = getattr(entry, "reprfuncargs", None)
            if arguments is not None:
                arguments.args = [(name, screen_text(str(value))) for name, value in arguments.args]
            local_values = getattr(entry, "reprlocals", None)
            if local_values is not None:
                local_values.lines = [screen_text(line) for line in local_values.lines]
        if crash is not None:
            crash.message = screen_text(crash.message)
    return longrepr


def add_worker_sections(item: pytest.Item, output: Output, traceback: str) -> None:
    """Add the worker's output to the report of an item that failed."""
    for title, text in (
        ("worker traceback", traceback),
        ("worker stdout", output.stdout),
        ("worker stderr", output.stderr),
    ):
        if text.strip():
            item.add_report_section("call", title, screen_text(text))
