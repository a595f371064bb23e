"""Pieces of the schemas of what is stored: types of numbers, a base class, and errors in words."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import pydantic

from pytest_yourai.core.excerpt import excerpt
from pytest_yourai.core.files import mapping
from pytest_yourai.core.outcomes import Outcome, Overdue, SkipReason
from pytest_yourai.core.power import ThermalState
from pytest_yourai.core.type_adapters import type_adapter

_LONGEST_VALUE = 60

AxisValue = Annotated[int, pydantic.Field(ge=1, le=1_000_000_000)]
"""One number of a configuration."""

Length = Annotated[int, pydantic.Field(ge=2, le=1_000_000_000)]
"""A sequence length, in tokens."""

Count = Annotated[int, pydantic.Field(ge=0, lt=1 << 62)]

Growth = Annotated[int, pydantic.Field(gt=-(1 << 62), lt=1 << 62)]

Amount = Annotated[float, pydantic.Field(allow_inf_nan=False, ge=-1e18, le=1e18)]

OutcomeName = Annotated[Outcome, pydantic.Field(strict=False)]

SkipName = Annotated[
    SkipReason | None,
    pydantic.Field(strict=False),
    pydantic.BeforeValidator(lambda name: name if name in set(SkipReason) else None),
]
"""A reason that this version does not know counts as none: the row itself is still right."""

OverdueName = Annotated[
    Overdue | None,
    pydantic.Field(strict=False),
    pydantic.BeforeValidator(lambda name: name if name in set(Overdue) else None),
]
"""As `SkipName`."""

ThermalName = Annotated[
    ThermalState | None,
    pydantic.Field(strict=False),
    pydantic.BeforeValidator(lambda name: name if name in set(ThermalState) else None),
]
"""As `SkipName`."""


class Row(pydantic.BaseModel):
    """A JSON object of a profile; true and false are not numbers, unknown keys are ignored."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True, defer_build=True)

    def as_json(self) -> dict[str, Any]:
        """The keys and values of the file, in their order."""
        return self.model_dump(mode="json", by_alias=True)


_T = TypeVar("_T")


def read_leniently(kind: type[_T], value: Any) -> _T:
    """`value`, a JSON object, as a `kind`, all of whose fields have defaults.

    Keys whose values are not of the field's type count as missing.
    """
    text = json.dumps(mapping(value))
    adapter = type_adapter(kind)
    try:
        return adapter.validate_json(text, strict=True)
    except pydantic.ValidationError as problem:
        values = json.loads(text)
        for error in problem.errors():
            _drop(values, error["loc"])
    return adapter.validate_json(json.dumps(values), strict=True)


def _drop(values: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """Delete the innermost JSON object's key on the way to `place`, if it is still there."""
    key, *rest = place
    inner = values.get(str(key))
    if rest and isinstance(inner, dict) and rest[0] in inner:
        _drop(inner, tuple(rest))
    else:
        values.pop(str(key), None)


def first_problem(error: pydantic.ValidationError) -> str:
    """The first mistake, in words: the key, and what is wrong with it."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{where}: it is missing"
    message = first["msg"].removeprefix("Value error, ")
    found = (
        ""
        if first["type"] == "value_error"
        else f" (found {excerpt(repr(first['input']), _LONGEST_VALUE)})"
    )
    said = f"{message[:1].lower()}{message[1:]}{found}"
    return f"{where}: {said}" if where else said
