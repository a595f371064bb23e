"""All lines leave this process where `screen_line` makes them fit for a screen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.paths import PACKAGE

DOORS = {
    "report/safe_stream.py": {"write"},
    "report/live_area.py": {"write", "print"},
    "training/display.py": {"write", "print"},
    "plugin/terminal.py": {"write_line"},
    "plugin/command_line.py": {"UsageError"},
    "cli/show.py": {"write"},
}
"""Modules that may call what prints, by the names of what they call."""

PRINTING = {"print", "write_line", "UsageError", "warn"}
"""What `skip` and `fail` say passes `plugin/safe_reports.py`."""


def printing_calls(path: Path) -> Iterator[str]:
    """The names of called functions that print."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            of_stream = ast.unparse(node.func) in ("sys.stdout.write", "sys.stderr.write")
            if name in PRINTING or of_stream:
                yield name


def test_nothing_prints_but_at_the_doors() -> None:
    paths = {str(each.relative_to(PACKAGE)): each for each in PACKAGE.rglob("*.py")}
    others = {
        (where, name)
        for where, path in paths.items()
        if not where.startswith("worker/")
        for name in printing_calls(path)
        if name not in DOORS.get(where, set())
    }
    assert others == {("plugin/__init__.py", "UsageError")}, "the number of xdist's workers"
