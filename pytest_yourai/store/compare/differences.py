"""How the circumstances of two sweeps differ, in words: what must be said beside their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_yourai.core.files import mapping
from pytest_yourai.core.units import gigabytes, machine_memory
from pytest_yourai.machine.environment import is_other_memory
from pytest_yourai.store.stored_profile import StoredProfile

_MACHINE = ("chip", "backend", "device")

_MOST = 1 << 62
"""Of bytes: more is a mistake."""

_NOT_SETTINGS = ("replay", "matrix", "search", "timeout_s")
"""They say which configurations were run, not how."""


def differences(before: StoredProfile, after: StoredProfile) -> Iterator[str]:
    """A sentence for each that matters."""
    theirs, ours = before.environment, after.environment
    if machines := [*_changes(theirs, ours, _MACHINE), *_memory(theirs, ours)]:
        yield f"two machines: {'; '.join(machines)}"
    older, newer = mapping(theirs.get("versions")), mapping(ours.get("versions"))
    if versions := list(_changes(older, newer, sorted({*older, *newer}))):
        yield f"other versions: {'; '.join(versions)}"
    keys = [key for key in {**before.settings, **after.settings} if key not in _NOT_SETTINGS]
    if settings := list(_changes(before.settings, after.settings, keys)):
        yield f"other settings: {'; '.join(settings)}"
    if power := list(_changes(theirs, ours, ("power_source", "low_power_mode"))):
        yield f"other power: {'; '.join(power)}"
    limits = before.memory_limit_bytes, after.memory_limit_bytes
    if limits[0] != limits[1]:
        yield f"other budget: {_limit(limits[0])}, now {_limit(limits[1])}"
    if not after.complete:
        yield f"{after.name} is incomplete: its sweep was interrupted"


def are_of_one_machine(before: StoredProfile, after: StoredProfile) -> bool:
    """Whether nothing says that they are of two."""
    theirs, ours = before.environment, after.environment
    return not [*_changes(theirs, ours, _MACHINE), *_memory(theirs, ours)]


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], keys: tuple[str, ...] | list[str]
) -> Iterator[str]:
    """Of `keys`; what only one of them tells counts too, unless the other tells nothing at all.

    A setting that is not there is one that is off, of before it could be set.
    """
    if not (before and after):
        return
    for key in keys:
        old, new = before.get(key), after.get(key)
        if (old or None) != (new or None):
            yield f"{key} {_said(old)}, now {_said(new)}"


def _memory(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = before.get("system_memory_bytes"), after.get("system_memory_bytes")
    if not (isinstance(old, int) and isinstance(new, int) and 0 < old < _MOST and 0 < new < _MOST):
        return
    if is_other_memory(new, old):
        yield f"memory {machine_memory(old)}, now {machine_memory(new)}"


def _said(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case list():
            return "+".join(map(_said, value))
        case dict():
            return " ".join(f"{key} {_said(each)}" for key, each in value.items())
        case _:
            return str(value)


def _limit(limit_bytes: int | None) -> str:
    return "not known" if limit_bytes is None else gigabytes(limit_bytes)
