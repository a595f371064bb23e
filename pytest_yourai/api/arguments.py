"""From the arguments of a function to the options of a run: they are the flags, by other names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.errors import InputError, OptionError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.options import DEFAULT_TIMEOUT_S, Options
from pytest_yourai.plan.read_options import GivenTexts, read_flags

_NOWHERE = {
    "output": os.path.join(os.devnull, "profile"),  # noqa: PTH118 - a text, as all others
    "log": os.path.join(os.devnull, "journal"),  # noqa: PTH118
}
"""Files that are not asked for, and not written: they must not be taken for files that are read."""

_NAMES = {
    **{flag.name: flag.name.replace("-", "_") for flag in FLAGS},
    **{axis.flag: axis.name for axis in AXES},
    "max-memory": "memory_gb",
    "timeout": "timeout_s",
    "compile-timeout": "compile_timeout_s",
}
"""The argument of each flag."""

_FLAG = re.compile(r"--(?:yourai-)?([a-z]+(?:-[a-z]+)*)")


def options_of(arguments: Mapping[str, Any]) -> Options:
    """The options that `arguments` ask for; None is not given. OptionError as for flags."""
    return read_flags(_Arguments(arguments))


@contextlib.contextmanager
def named_as_arguments() -> Iterator[None]:
    """Let errors in the block name arguments where they name flags."""
    try:
        yield
    except InputError as problem:
        raise type(problem)(_with_arguments(str(problem))) from None


def _with_arguments(text: str) -> str:
    return _FLAG.sub(lambda match: _NAMES.get(match[1], match[0]), text)


class _Arguments:
    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = {name: value for name, value in arguments.items() if value is not None}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(flag for flag, name in _NAMES.items() if self._arguments.get(name))

    @property
    def folder(self) -> Path:
        return Path.cwd()

    @property
    def timeout_s(self) -> float:
        return DEFAULT_TIMEOUT_S

    def of(self, flag: Flag) -> GivenTexts:
        name = _NAMES[flag.name]
        value = self._arguments.get(name, _NOWHERE.get(flag.name))
        texts = [] if value is None else [_text(name, value)]
        return GivenTexts(texts, name, self.folder)


def _text(name: str, value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case os.PathLike():
            return os.fsdecode(value)
        case Mapping():
            raise OptionError(f"{name}: it is a mapping: give one value, or a list of them")
        case Iterable():
            if not (texts := [_text(name, each) for each in value]):
                raise OptionError(f"{name}: it has no value: give one, or leave it out")
            return ",".join(texts)
        case _:
            return str(value)
