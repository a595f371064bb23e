"""pydantic's adapters of types."""

from __future__ import annotations

from typing import Annotated

import pydantic
import pytest

from pytest_yourai.core.figures import Count
from pytest_yourai.core.type_adapters import type_adapter


def test_an_adapter_is_built_once() -> None:
    assert type_adapter(dict[str, int]) is type_adapter(dict[str, int])


def test_types_that_differ_in_their_limits_have_adapters_of_their_own() -> None:
    few = Annotated[int, pydantic.Field(le=2)]
    assert type_adapter(Count).validate_python(3) == 3
    with pytest.raises(pydantic.ValidationError, match="less than or equal to 2"):
        type_adapter(few).validate_python(3)
