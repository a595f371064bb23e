"""Which fixture an argument of a test takes: the plugin's, or one that the project has put over it.

pytest has no public way to ask; the names of its internals are used here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

_OWN = "pytest_yourai.plugin"

_PROVIDERS = {"trial": (_OWN,), "benchmark": (_OWN, "pytest_benchmark.plugin")}
"""The modules whose fixtures the packaged test is written for."""


def takes_our_trial(metafunc: pytest.Metafunc) -> bool:
    """True if `trial` is ours, or built on ours, and has no values yet.

    A project may have a fixture of that name, or parametrize an argument of that name.
    """
    if any("trial" in call.params for call in getattr(metafunc, "_calls", ())):
        return False
    for fixture in reversed(_fixtures(metafunc).get("trial", ())):
        if _module(fixture) == _OWN:
            return True
        if "trial" not in fixture.argnames:
            return False
    return False


def keep_packaged_fixtures(metafunc: pytest.Metafunc) -> None:
    """Let a packaged test have the fixtures that it is written for, whatever the project has."""
    found = _fixtures(metafunc)
    for name, modules in _PROVIDERS.items():
        if kept := tuple(each for each in found.get(name, ()) if _module(each) in modules):
            found[name] = kept


def _fixtures(metafunc: pytest.Metafunc) -> dict[str, Sequence[pytest.FixtureDef[Any]]]:
    """The fixtures for each argument, the one that is taken last."""
    info: Any = metafunc.definition._fixtureinfo  # noqa: SLF001 - see above
    found: dict[str, Sequence[pytest.FixtureDef[Any]]] = info.name2fixturedefs
    return found


def _module(fixture: pytest.FixtureDef[Any]) -> str:
    return str(getattr(fixture.func, "__module__", ""))
