"""The terminal that pytest writes to: lines on it, and the display of a running trial."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_yourai.core.sanitize import screen_line
from pytest_yourai.plan.short_commands import in_own_words
from pytest_yourai.plugin import command_line
from pytest_yourai.report.live_area import LiveArea
from pytest_yourai.report.live_sweep import SweepDisplay
from pytest_yourai.report.safe_stream import safe_stream
from pytest_yourai.report.screen import TerminalSize, is_terminal
from pytest_yourai.report.styles import like, painted

_LOG_READERS = ("CI", "BUILD_NUMBER")
"""Variables by which pytest recognizes that its output goes to a log, even on a terminal."""


class Terminal:
    """Prints lines, wrapped and fit for a screen; under `-p no:terminal` nowhere."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def verbosity(self) -> int:
        """The verbosity of test cases: -1 under `-q`."""
        return self._config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES)

    @property
    def size(self) -> TerminalSize:
        """The present size; without a terminal, all text may be long."""
        is_verbose = self.verbosity > 0
        if self._reporter is None or not _is_watched():
            return TerminalSize(is_verbose=is_verbose)
        columns, rows = shutil.get_terminal_size()
        return TerminalSize(columns, rows, is_verbose)

    def shown_path(self, path: Path) -> str:
        """`path` relative to where pytest was started."""
        folder = self._config.invocation_params.dir
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def print_lines(self, *lines: str) -> None:
        """Print `lines`, wrapped at words."""
        size = self.size
        self.print_unwrapped(*(like(line, part) for line in lines for part in size.wrapped(line)))

    def print_unless_quiet(self, *lines: str) -> None:
        """Print `lines`, but not under `-q`."""
        if self.verbosity >= 0:
            self.print_lines(*lines)

    def print_unwrapped(self, *lines: str) -> None:
        """Print lines that are to be copied, such as commands."""
        if self._reporter is not None:
            has_color = self._config.get_terminal_writer().hasmarkup
            is_short = command_line.is_short(self._config)
            for line in lines:
                shown = screen_line(in_own_words(line) if is_short else line)
                self._reporter.write_line(painted(line, shown) if has_color else shown)

    @contextlib.contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Switch pytest's capture off: downloads print their progress."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            yield

    def hide_file_names(self) -> None:
        """Keep pytest from printing the file before each item: every trial has its own line."""
        if self.verbosity == 0 and self._reporter is not None:
            self._reporter.showfspath = False

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.getplugin("terminalreporter")


class DisplayHooks:
    """Gives `display` the terminal, or the log that it is written to.

    Registered if items run in the process that writes there.
    """

    def __init__(self, config: pytest.Config, display: SweepDisplay) -> None:
        self._config = config
        self._display = display
        self._stream: IO[str] | None = None

    def pytest_sessionstart(self) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or self._config.option.collectonly:
            return
        if not _is_watched():
            self._display.log_to(self._log)
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

    def _log(self, line: str) -> None:
        terminal = Terminal(self._config)
        with terminal.uncaptured():
            terminal.print_unless_quiet(line)

    def pytest_unconfigure(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _is_watched() -> bool:
    """True if a person reads standard output as it is written."""
    if any(os.environ.get(name) for name in _LOG_READERS):
        return False
    return is_terminal(safe_stream(sys.stdout))
