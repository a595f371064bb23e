"""What further measurements say of a regression of step time."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.units import format_change


@dataclass(frozen=True, slots=True)
class Verdict:
    """A regression of step time, and how much longer the steps were each further time.

    `config` is None if it concerns all configurations. `changes` are 0.2 for 20 % more time.
    """

    config: LoraConfig | None
    regression: str
    changes: tuple[float, ...]
    is_confirmed: bool

    def __str__(self) -> str:
        again = ", ".join(map(format_change, self.changes))
        said = "confirmed" if self.is_confirmed else "not confirmed"
        return f"{said}: {self.regression}; measured again: {again or 'in vain'}"
