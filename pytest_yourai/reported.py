"""Trials and soaks as they travel in test reports, from the process that ran them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import pydantic

from pytest_yourai.redaction import redactor
from pytest_yourai.results import TrialResult
from pytest_yourai.run import Opened
from pytest_yourai.soak_result import SoakResult
from pytest_yourai.sweep_search import not_needed

PROPERTY = "yourai"
"""Name of the user property that carries it, as JSON: values must be plain."""

SOAK_PROPERTY = "yourai_soak"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items are to be run, of a stage and of all; and of how many models."""

    of_stage: int
    of_all: int
    models: int


@dataclass(frozen=True)
class ReportedTrial:
    """`stopped` is why a fast search needs no more trials."""

    model: str
    is_check: bool
    counts: Counts
    opened: Opened | None
    journal_problem: str | None
    stopped: str | None
    result: TrialResult

    @property
    def is_not_needed(self) -> bool:
        """Whether the fast search left it out."""
        return self.stopped is not None and self.result.reason == not_needed(self.stopped)

    def to_json(self) -> str:
        """Numbers that are not finite as NaN and Infinity; without secrets: reports are kept."""
        return redactor()(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> ReportedTrial:
        return _ADAPTER.validate_json(text)


_ADAPTER = pydantic.TypeAdapter(ReportedTrial)


@dataclass(frozen=True, slots=True)
class ReportedSoak:
    """All soaks of one model, in the order that they were run."""

    model: str
    results: tuple[SoakResult, ...]
    journal_problem: str | None

    def to_json(self) -> str:
        """As that of a trial."""
        return redactor()(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> ReportedSoak:
        return _SOAK_ADAPTER.validate_json(text)


_SOAK_ADAPTER = pydantic.TypeAdapter(ReportedSoak)
