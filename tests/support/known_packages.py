"""What is installed, read once: each run of pytest within a test would read it twice."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoints, PackagePath
from typing import Any

_distributions = importlib.metadata.distributions


class _Known:
    """A distribution that has been asked for its entry points and files."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    @functools.cached_property
    def entry_points(self) -> EntryPoints:
        return self._distribution.entry_points

    @functools.cached_property
    def files(self) -> list[PackagePath] | None:
        return self._distribution.files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


@functools.cache
def _all_known() -> tuple[_Known, ...]:
    return tuple(map(_Known, _distributions()))


def _known(**of: Any) -> Iterable[Any]:
    return _distributions(**of) if of else _all_known()


def remember_packages() -> None:
    """Let this process see from now on what is installed now."""
    importlib.metadata.distributions = _known
