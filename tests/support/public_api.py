"""The public API as text: each name with its signature, its members and their types.

python tests/support/public_api.py      # writes tests/data/public_api.txt
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).parents[1] / "data" / "public_api.txt"

MODULES = ("pytest_yourai", "pytest_yourai.estimate", "pytest_yourai.trial_handle")


def api_text() -> str:
    return "\n".join(_all_lines()) + "\n"


def _all_lines() -> Iterator[str]:
    seen: dict[int, str] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for public in sorted(module.__all__):
            value, path = getattr(module, public), f"{name}.{public}"
            if id(value) in seen:
                yield f"{path} is {seen[id(value)]}"
                continue
            seen[id(value)] = path
            yield from _lines(path, value)


def _lines(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, type):
        yield f"{name}{_signature(value)}"
    elif issubclass(value, BaseException):
        yield f"{name}({', '.join(base.__name__ for base in value.__bases__)})"
    elif issubclass(value, enum.Enum):
        yield name
        yield from (f"    {each.name} = {each.value!r}" for each in value)
    else:
        yield name
        yield from (f"    {line}" for line in _members(value))


def _members(value: type) -> Iterator[str]:
    fields = (
        {each.name: each for each in dataclasses.fields(value)}
        if dataclasses.is_dataclass(value)
        else {}
    )
    for name, field in fields.items():
        if not name.startswith("_"):
            yield f"{name}: {field.type}{'' if _is_required(field) else ' = …'}"
    for name, member in sorted(inspect.getmembers_static(value)):
        if name.startswith("_") or name in fields:
            continue
        if isinstance(member, property):
            returned = inspect.signature(member.fget).return_annotation if member.fget else ""
            yield f"{name} -> {returned}"
        elif callable(found := getattr(value, name)):
            yield f"{name}{_signature(found)}"


def _is_required(field: dataclasses.Field[object]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _signature(value: object) -> str:
    """On one line, or with an argument on each if it is long."""
    assert callable(value)
    found = inspect.signature(value)
    text = str(found)
    if len(text) <= 100:
        return text
    given = found.parameters.values()
    first_named = next((each for each in given if each.kind is each.KEYWORD_ONLY), None)
    lines = [f"        {'*, ' if each is first_named else ''}{each},\n" for each in given]
    return f"(\n{''.join(lines)}    ) -> {found.return_annotation!r}"


if __name__ == "__main__":
    FILE.write_text(api_text(), encoding="utf-8")
