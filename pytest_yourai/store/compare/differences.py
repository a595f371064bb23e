"""Differences between the conditions of two sweeps, in words, to show beside their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.units import gigabytes, machine_memory
from pytest_yourai.machine.environment import is_other_memory
from pytest_yourai.store.stored_profile import StoredProfile

_MACHINE = ("chip", "backend", "device")

_POWER = ("power_source", "low_power_mode")

_CHOICE_OF_TRIALS = (
    "replay",
    "model",
    "presets_file",
    "matrix",
    "recipe_file",
    "search",
    "timeout_s",
)
"""Settings that decide what is run, not how."""

_FOLLOWS = ("adapted_modules",)
"""Settings that follow from others and from the model, and that older profiles lack."""


def differences(before: StoredProfile, after: StoredProfile) -> Iterator[str]:
    """A sentence for each difference that matters to measurements."""
    theirs, ours = before.environment, after.environment
    if machines := list(_machines(theirs, ours)):
        yield f"two machines: {'; '.join(machines)}"
    names = sorted({*theirs.versions, *ours.versions})
    if versions := list(_changes(theirs.versions, ours.versions, names)):
        yield f"other versions: {'; '.join(versions)}"
    if theirs.is_known and (variables := list(_variables(theirs.variables, ours.variables))):
        yield f"other environment variables: {'; '.join(variables)}"
    older, newer = before.settings.as_json(), after.settings.as_json()
    keys = [key for key in newer if key not in (*_CHOICE_OF_TRIALS, *_FOLLOWS)]
    if settings := list(_changes(older, newer, keys)):
        yield f"other settings: {'; '.join(settings)}"
    if power := list(_changes(theirs.as_json(), ours.as_json(), _POWER)):
        yield f"other power: {'; '.join(power)}"
    limits = before.memory_limit_bytes, after.memory_limit_bytes
    if limits[0] != limits[1]:
        yield f"other budget: {_limit(limits[0])}, now {_limit(limits[1])}"
    if not after.complete:
        yield f"{after.name} is incomplete: its sweep was interrupted"


def are_of_one_machine(before: StoredProfile, after: StoredProfile) -> bool:
    """True if no difference between their machines is known."""
    return not any(_machines(before.environment, after.environment))


def _machines(before: Environment, after: Environment) -> Iterator[str]:
    yield from _changes(before.as_json(), after.as_json(), _MACHINE)
    old, new = before.system_memory_bytes, after.system_memory_bytes
    if old and new and is_other_memory(new, old):
        yield f"memory {machine_memory(old)}, now {machine_memory(new)}"


def _variables(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name, "not set"), after.get(name, "not set")
        if old != new:
            yield f"{name} {old}, now {new}"


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[str]:
    """The changed values of `keys`; none if nothing at all is known of one side.

    A value that only one side has counts as changed, but a setting that is off counts as missing:
    older profiles were made before it could be set.
    """
    if not (any(before.values()) and any(after.values())):
        return
    for key in keys:
        old, new = before.get(key), after.get(key)
        if (old or None) != (new or None):
            yield f"{key} {_text(old)}, now {_text(new)}"


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return on_or_off(value)
        case list():
            return "+".join(map(_text, value))
        case dict():
            return " ".join(f"{key} {_text(each)}" for key, each in value.items())
        case _:
            return str(value)


def _limit(limit_bytes: int | None) -> str:
    return "not known" if limit_bytes is None else gigabytes(limit_bytes)
