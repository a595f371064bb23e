"""What describes an option of `yourai train`, as a field of a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.axes import Axis, value_text
from pytest_yourai.core.parsing import at_least

_MAX_COUNT = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class TrainOption:
    """Everything but the type of one option; a switch has no `metavar`.

    `default` applies if nothing else decides, and `default_help` describes it if the value does
    not. `parse` reads the value from text, and `text` writes it so that `parse` reads it again.
    """

    flag: str
    help: str
    metavar: str | None = None
    default: Any = None
    default_help: str = ""
    parse: Callable[[str], Any] = str
    text: Callable[[Any], str] = str
    has_negation: bool = False
    """True if there is a --no- flag, too."""
    aliases: tuple[str, ...] = ()
    """Other spellings: mlx-lm's, and shorter ones."""
    must_agree: bool = False
    """True if a run resumes only with the value in its checkpoint."""

    @property
    def shown(self) -> str:
        """The flags, each with the metavar, as help and docs show them."""
        flags = [self.flag, *self.aliases, *([self.negation] if self.has_negation else [])]
        return ", ".join(f"{flag} {self.metavar}" if self.metavar else flag for flag in flags)

    @property
    def negation(self) -> str:
        return self.flag.replace("--", "--no-", 1)

    @property
    def shown_default(self) -> str:
        """Empty for an option that is left out by default."""
        if self.default_help or self.default is None:
            return self.default_help
        return "off" if self.default is False else str(self.default)


def option(
    flag: str,
    description: str,
    *,
    value: Any = None,
    bounds: Mapping[str, int] | None = None,
    **others: Any,
) -> Any:
    """A field; `value` is that of an option that is not given, MISSING if there is none.

    `bounds`, as pydantic names them, hold for the value in a checkpoint.
    """
    described = TrainOption(flag=flag, help=description, **others)
    return dataclasses.field(default=value, metadata={"option": described, **(bounds or {})})


def count(
    flag: str, description: str, *, least: int = 1, most: int = _MAX_COUNT, **others: Any
) -> Any:
    """A whole number from `least` to `most`."""
    parse = at_least(least, most)
    return option(flag, description, bounds={"ge": least}, metavar="N", parse=parse, **others)


def axis_option(axis: Axis, *, flag: str = "", **others: Any) -> Any:
    """An axis of the matrix; a run resumes only with the value of its checkpoint."""
    described = {"must_agree": True, "metavar": axis.metavar, "parse": axis.parse} | others
    return option(flag or f"--{axis.flag}", axis.help, text=value_text, **described)


def switch(flag: str, text: str) -> Any:
    """A flag that is off unless it is given."""
    return option(flag, text, value=False, default=False)
