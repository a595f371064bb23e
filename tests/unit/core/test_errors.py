"""All exceptions have one base."""

from __future__ import annotations

import ast

from pytest_yourai.core.paths import PACKAGE


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


def test_every_public_exception_is_one_of_this_package() -> None:
    found = defined()
    assert found.pop("YouraiError") == "Exception"
    assert {base for base in found.values() if base not in found} == {"YouraiError"}
