"""Arguments of an estimate, checked: one sentence for each that cannot be used."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_yourai.core.config import GROUP_SIZES, QUANTIZATION_BITS

_FULL_PRECISION_BITS = (16, 32)

_ALL_LAYERS = -1

_MOST = 10**12
"""No size of a model or a step is larger."""

_GROUP_SIZES = (16, *GROUP_SIZES)
"""Group sizes of the affine mode and of nvfp4."""


def checked_layers(value: Any, depth: int) -> int:
    """The number of trained layers; -1 means all, as in mlx-lm."""
    is_all = not isinstance(value, bool) and value == _ALL_LAYERS
    return depth if is_all else whole_number("lora_layers", value, 1)


def whole_number(name: str, value: Any, least: int) -> int:
    """`value` as an int, NumPy's integers included; else TypeError or ValueError.

    A bool is not a number here.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    if number > _MOST:
        raise ValueError(f"{name} must be at most {_MOST:,}")
    return number


def real_number(name: str, value: Any) -> float:
    """`value` as a float, NumPy's numbers included; else TypeError."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return float(value)


def true_or_false(name: str, value: Any) -> bool:
    """`value` as a bool, NumPy's included; else TypeError."""
    if value not in (True, False):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """`value` if it is a text; else TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {value!r}")
    return value


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, an empty one for None; else TypeError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping or None, not {value!r}")
    return value


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """`value` if it is `allowed`; ValueError that lists these otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value}")
    return value


def checked_keys(lora_keys: Iterable[str] | None) -> tuple[str, ...] | None:
    """The keys of any iterable; ValueError for what is none, a single string, and no key at all."""
    if lora_keys is None:
        return None
    is_list = isinstance(lora_keys, Iterable) and not isinstance(lora_keys, str)
    keys = tuple(lora_keys) if is_list else ()
    if not keys:
        raise ValueError("lora_keys must be a list of one or more names, or None for all")
    return keys


def checked_quantization(bits: int | None, group_size: int) -> tuple[int | None, int]:
    """Bits and group size; bits are None for full precision."""
    if bits is None:
        return None, group_size
    number = whole_number("quantization_bits", bits, 1)
    if number in _FULL_PRECISION_BITS:
        return None, group_size
    one_of("quantization_bits", number, (*QUANTIZATION_BITS, *_FULL_PRECISION_BITS))
    return number, one_of("group_size", whole_number("group_size", group_size, 1), _GROUP_SIZES)
