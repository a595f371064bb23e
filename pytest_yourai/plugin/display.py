"""The display of a running trial, on the terminal that pytest writes to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO

import pytest

from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.report.live_sweep import SweepDisplay
from pytest_yourai.report.safe_stream import safe_stream
from pytest_yourai.report.screen import TerminalSize, is_terminal

_LOG_READERS = ("CI", "BUILD_NUMBER")
"""Variables by which pytest recognizes that its output goes to a log, even on a terminal."""


class DisplayHooks:
    """Gives `display` the terminal; registered if items run in the process that writes there."""

    def __init__(self, config: pytest.Config, display: SweepDisplay) -> None:
        self._config = config
        self._display = display
        self._stream: IO[str] | None = None

    def pytest_sessionstart(self) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or self._config.option.collectonly or not _is_watched():
            return
        # A descriptor of its own: pytest captures the usual one while tests run.
        self._stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding)
        writer = self._config.get_terminal_writer()
        area = LiveArea(
            self._stream,
            has_color=writer.hasmarkup,
            line_width=lambda: writer.width_of_current_line,
        )
        self._display.draw_on(area)

    def pytest_unconfigure(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def terminal_size(config: pytest.Config) -> TerminalSize:
    """Size of the terminal that pytest writes to; without one, all text may be long."""
    is_verbose = config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) > 0
    if config.pluginmanager.getplugin("terminalreporter") is None or not _is_watched():
        return TerminalSize(is_verbose=is_verbose)
    columns, rows = shutil.get_terminal_size()
    return TerminalSize(columns, rows, is_verbose)


def _is_watched() -> bool:
    """True if a person reads standard output as it is written."""
    if any(os.environ.get(name) for name in _LOG_READERS):
        return False
    return is_terminal(safe_stream(sys.stdout))
