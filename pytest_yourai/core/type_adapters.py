"""pydantic's adapters of types: each is built when it is first used, and kept."""

from __future__ import annotations

import functools
from typing import Any, TypeVar, cast

import pydantic

_T = TypeVar("_T")


def type_adapter(kind: type[_T]) -> pydantic.TypeAdapter[_T]:
    """The adapter of `kind`, a hashable type; building one takes up to 40 ms."""
    adapter: pydantic.TypeAdapter[_T] = _built(cast("Any", kind))
    return adapter


@functools.cache
def _built(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
