"""The tree of exceptions: as drawn, and as it is."""

from __future__ import annotations

import ast
import re

from pytest_yourai.core import errors
from pytest_yourai.core.paths import PACKAGE


def drawn() -> dict[str, str]:
    """The parent of each exception, by the drawing."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([ │├└─]{4,})(\w+(?:Error))\b", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        above[depth] = match[2]
        if depth > 1:
            parents[match[2]] = above[depth - 1]
    return parents


def defined() -> dict[str, str]:
    """The base of each public exception that the package defines."""
    classes: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.bases:
                classes[node.name] = ast.unparse(node.bases[0])

    def is_exception(name: str) -> bool:
        return name in ("Exception", "BaseException") or (
            name in classes and is_exception(classes[name])
        )

    return {
        name: base
        for name, base in classes.items()
        if not name.startswith("_") and is_exception(base)
    }


def test_every_public_exception_is_in_the_drawing_under_its_base() -> None:
    found = defined()
    assert found.pop("YouraiError") == "Exception"
    assert found == drawn()
