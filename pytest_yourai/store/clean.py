"""What may be written to a file: no secrets, and, since JSON has none, no NaN and no infinity."""

from __future__ import annotations

import math
from typing import Any

from pytest_yourai.redaction import redactor


def clean(value: Any) -> Any:
    """`value` as JSON will give it back, without secrets, and None for floats without a number."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, str):
        return redactor()(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
