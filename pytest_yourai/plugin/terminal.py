"""Lines on the terminal of pytest, wrapped and without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.sanitize import redactor
from pytest_yourai.plugin.display import terminal_size
from pytest_yourai.report.screen import TerminalSize


class Terminal:
    """Prints lines; under `-p no:terminal` nowhere."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def verbosity(self) -> int:
        """The verbosity of test cases: -1 under `-q`."""
        return self._config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES)

    @property
    def size(self) -> TerminalSize:
        """The present size."""
        return terminal_size(self._config)

    def shown_path(self, path: Path) -> str:
        """`path` relative to where pytest was started."""
        folder = self._config.invocation_params.dir
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def print_lines(self, *lines: str) -> None:
        """Print `lines`, wrapped at words."""
        size = self.size
        self.print_unwrapped(*(part for line in lines for part in size.wrapped(line)))

    def print_unless_quiet(self, *lines: str) -> None:
        """Print `lines`, but not under `-q`."""
        if self.verbosity >= 0:
            self.print_lines(*lines)

    def print_unwrapped(self, *lines: str) -> None:
        """Print lines that are to be copied, such as commands."""
        if self._reporter is not None:
            for line in lines:
                self._reporter.write_line(redactor()(line))

    def hide_file_names(self) -> None:
        """Keep pytest from printing the file before each item: every trial has its own line."""
        if self.verbosity == 0 and self._reporter is not None:
            self._reporter.showfspath = False

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.getplugin("terminalreporter")
