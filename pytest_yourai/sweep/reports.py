"""What goes from where items run to the process that the user started, as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import json_text, without_secrets
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.sweep.confirming import Confirmed
from pytest_yourai.sweep.stage_info import StageInfo

PROPERTY = "yourai"
"""Name of the user property with a trial as JSON: values of properties must be plain."""

SOAK_PROPERTY = "yourai_soak"

CONFIRMATION = "yourai_confirmation"
"""The key of a ConfirmationReport in the output of a worker of xdist."""


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """Numbers of selected items, of a stage and of all, and of their models."""

    of_stage: int
    of_all: int
    models: int


@dataclass(frozen=True)
class _Report:
    """Goes to the controller as JSON."""

    def to_json(self) -> str:
        """Without secrets, since reports are kept; numbers that are not finite as NaN, Infinity."""
        return json_text(without_secrets(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return type_adapter(cls).validate_json(text)


@dataclass(frozen=True)
class TrialReport(_Report):
    """One trial on its way to the controller; `stopped` is why a fast search needs no more."""

    model: str
    is_check: bool
    counts: ItemCounts
    opened: StageInfo | None
    journal_problem: str | None
    stopped: str | None
    result: TrialResult

    @property
    def is_not_needed(self) -> bool:
        """True if the fast search left it out."""
        return self.result.skip_reason is SkipReason.SEARCH_IS_DONE


@dataclass(frozen=True)
class ConfirmationReport(_Report):
    """What measuring again says, of all stages of which something was."""

    found: tuple[Confirmed, ...]


@dataclass(frozen=True)
class SoakReport(_Report):
    """All soaks of one model, in the order that they were run."""

    model: str
    results: tuple[SoakResult, ...]
    journal_problem: str | None
