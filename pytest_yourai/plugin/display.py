"""Gives the display of a running trial its place: the terminal that pytest writes on."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO

import pytest

from pytest_yourai.plugin.items import ItemHooks
from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.report.live_sweep import SweepDisplay
from pytest_yourai.report.safe_stream import safe_stream
from pytest_yourai.report.screen import TerminalSize, is_terminal

_LOG_READERS = ("CI", "BUILD_NUMBER")
"""As pytest itself tells that its output is kept, whatever it is written on."""


class DisplayHooks:
    """Registered where items run in the process that the user started."""

    def __init__(self, config: pytest.Config, items: ItemHooks) -> None:
        self._config = config
        self._items = items
        self._stream: IO[str] | None = None

    def pytest_sessionstart(self) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or self._config.option.collectonly or not _is_looked_at():
            return
        # A descriptor of its own: the usual one is pytest's to capture while tests run.
        self._stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding)
        writer = self._config.get_terminal_writer()
        area = LiveArea(
            self._stream,
            has_color=writer.hasmarkup,
            line_width=lambda: writer.width_of_current_line,
        )
        self._items.display = SweepDisplay(area)

    def pytest_unconfigure(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def terminal_size(config: pytest.Config) -> TerminalSize:
    """How much can be read at once where pytest writes."""
    is_verbose = config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) > 0
    if config.pluginmanager.getplugin("terminalreporter") is None or not _is_looked_at():
        return TerminalSize(is_verbose=is_verbose)
    columns, rows = shutil.get_terminal_size()
    return TerminalSize(columns, rows, is_verbose)


def _is_looked_at() -> bool:
    if any(os.environ.get(name) for name in _LOG_READERS):
        return False
    return is_terminal(safe_stream(sys.stdout))
