"""The profile JSON: the answer of a sweep, and all its rows."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pydantic

from pytest_yourai.core.answers import Answers, Pick, find_answers
from pytest_yourai.core.axis_types import model_of
from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import Objective
from pytest_yourai.core.ranking import best, pareto, soak_survivors
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import GB, scaled
from pytest_yourai.core.verdict import Verdict
from pytest_yourai.store.config_rows import ConfigRow, configuration
from pytest_yourai.store.data_rows import DataRow
from pytest_yourai.store.rows import SoakRow, TrialRow
from pytest_yourai.store.schema import Amount, Count, Row

SCHEMA_VERSION = 1

OUTPUT_FLAG = "--yourai-output"
"""The flag that names the file."""


class VerdictRow(Row):
    """A regression of step time that was measured again. `changes` are 0.2 for 20 % more time."""

    regression: str
    confirmed: bool
    changes: list[Amount]


def _verdict_row(verdict: Verdict) -> VerdictRow:
    return VerdictRow(
        regression=verdict.regression,
        confirmed=verdict.is_confirmed,
        changes=list(verdict.changes),
    )


_Optimum: Any = model_of(
    "_Optimum",
    Row,
    {
        f"optimal_{name}": (each.annotation | None, ...)
        for name, each in ConfigRow.model_fields.items()
    },
)


class AnswerRow(ConfigRow):
    """One of the answers: its configuration, its measurements, and the command to train with it."""

    minimum_memory_gb: Amount | None
    peak_memory_gb: Amount | None
    tokens_per_second: Amount | None
    throughput_score: Count
    command: str | None = None


class AnswersRow(Row):
    """The three answers; null where nothing fits."""

    largest: AnswerRow | None = None
    fastest: AnswerRow | None = None
    leanest: AnswerRow | None = None


class ProfileDocument(_Optimum):  # type: ignore[misc]  # made from the table of axes
    """The profile of one sweep. MB means 1e6 bytes, GB 1e9; the optimum is null if nothing fits."""

    schema_version: int
    model: str
    peak_memory_gb: Amount | None
    throughput_score: Count | None
    created_at: str
    complete: bool
    trials_run: Count
    memory_limit_gb: Amount | None
    objective: Objective
    optimal_for: dict[str, ConfigRow | None]
    answers: AnswersRow = pydantic.Field(default_factory=AnswersRow)
    pareto: list[ConfigRow]
    settings: SweepSettings
    environment: Environment
    data: DataRow | None
    soak: list[SoakRow] | None
    all_results: list[TrialRow]
    other_results: list[TrialRow] = pydantic.Field(default_factory=list)
    """Other measurements of the same configurations, which do not count: mostly older ones."""
    confirmation: list[VerdictRow] = pydantic.Field(default_factory=list)
    """What measuring again said of regressions."""
    identity: str | None = None
    """A digest of what was asked for, and of the machine: equal ones are merged."""
    digest: str | None = None
    """SHA-256 of everything else, by which a changed file is noticed."""


def build_profile(
    *,
    model: str,
    results: Sequence[TrialResult],
    complete: bool,
    objective: Objective,
    memory_limit_bytes: int | None,
    settings: SweepSettings,
    environment: Environment,
    data: dict[str, Any] | None = None,
    soaks: Sequence[SoakResult] = (),
    others: Sequence[TrialResult] = (),
    identity: str | None = None,
    verdicts: Sequence[Verdict] = (),
) -> dict[str, Any]:
    """A `ProfileDocument` as JSON; what a soak has ruled out is not its optimum."""
    remaining = soak_survivors(results, soaks)
    optimum = best(remaining, objective)
    named = configuration(optimum.config) if optimum else dict.fromkeys(ConfigRow.model_fields)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        **{f"optimal_{key}": value for key, value in named.items()},
        "peak_memory_gb": optimum and scaled(optimum.peak_memory_bytes, GB),
        "throughput_score": optimum and optimum.config.throughput_score,
        "created_at": created_at(),
        "complete": complete,
        "trials_run": sum(result.started for result in results),
        "memory_limit_gb": scaled(memory_limit_bytes, GB),
        "objective": objective.value,
        "optimal_for": {
            each.value: configuration(found.config) if (found := best(remaining, each)) else None
            for each in Objective
        },
        "answers": _answers(find_answers(remaining)),
        "pareto": [configuration(result.config) for result in pareto(remaining)],
        "settings": settings.as_json(),
        "environment": environment.as_json(),
        "data": data,
        "soak": [SoakRow.from_result(each).as_json() for each in soaks] or None,
        "all_results": [TrialRow.from_result(each).as_json() for each in results],
        "other_results": [TrialRow.from_result(each).as_json() for each in others],
        "confirmation": [_verdict_row(each).as_json() for each in verdicts],
        "identity": identity,
    }


def _answers(found: Answers) -> dict[str, Any]:
    return {each.value: _answer(found.pick(each)) for each in Pick}


def _answer(result: TrialResult | None) -> dict[str, Any] | None:
    """One of the answers, without the command, which depends on the name of the file."""
    if result is None:
        return None
    return {
        **configuration(result.config),
        "minimum_memory_gb": scaled(result.minimum_memory_bytes, GB),
        "peak_memory_gb": scaled(result.peak_memory_bytes, GB),
        "tokens_per_second": result.tokens_per_second,
        "throughput_score": result.config.throughput_score,
        "command": None,
    }


def created_at() -> str:
    """The present time in UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
