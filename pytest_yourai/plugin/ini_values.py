"""Values of ini keys as texts, like those of flags, from whatever type the file has them in.

`getini` takes a key to have one type in TOML, where numbers, booleans and lists are natural here.
Kept light: every pytest run imports it.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS

_BY_KEY = {flag.key: flag for flag in FLAGS}


def has_value(config: pytest.Config, key: str) -> bool:
    """True if the ini file, or `-o`, gives `key` a value that is not empty."""
    return bool(ini_texts(config, key))


def ini_texts(config: pytest.Config, key: str) -> list[str]:
    """The texts of an ini key: several for a flag that may be repeated, none where it is empty.

    OptionError for a value that no flag could have.
    """
    flag, value = _BY_KEY[key], _raw(config, key)
    lines = [line.strip() for each in _items(config, key, value) for line in each.splitlines()]
    texts = [line for line in lines if line]
    if flag.is_repeatable or len(texts) < 2:  # noqa: PLR2004 - one value needs no joining
        return texts
    if not _takes_list(flag):
        raise OptionError(f"{where(config, key)}: it has {len(texts)} values: name one")
    return [",".join(texts)]


def where(config: pytest.Config, key: str) -> str:
    """The file and the key, for messages."""
    return f"{config.inipath or 'ini file'}: {key}"


def _raw(config: pytest.Config, key: str) -> object:
    """The value in the type that the file has it in; None where it is absent."""
    found: Any = config._inicfg.get(key)  # noqa: SLF001 - getini refuses all types but one
    return getattr(found, "value", found)


def _items(config: pytest.Config, key: str, value: object) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [str(value).lower()]
        case str() | int() | float():
            return [str(value)]
        case list():
            return [text for each in value for text in _items(config, key, each)]
    kind = type(value).__name__
    raise OptionError(
        f"{where(config, key)}: it is a {kind}: give a text, a number, true or false, or a list"
    )


def _takes_list(flag: Flag) -> bool:
    return flag.metavar is not None and "," in flag.metavar
