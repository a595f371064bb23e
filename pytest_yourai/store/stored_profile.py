"""A profile as it is read again: what comparisons, tables and pages are made of."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, LoraConfig, Objective
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.files import check_version, mapping, read_document
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.ranking import best
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import all_printable, clean, printable
from pytest_yourai.store import benchmark_results, profile
from pytest_yourai.store.benchmark_results import entry_profiles
from pytest_yourai.store.rows import amount, lacks_minimum, trial_result, why

PEAKS_STAND_IN = "peaks_stand_in_for_minima"
"""The setting of a profile whose minima are another recording's peaks."""

_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class StoredProfile:
    """One model's sweep. All text in it is fit to be shown, but not free of markup.

    `name` is that of its file, as it was given. `results` are in the file's order, with what was
    not run. `optimum` is the one that the file names, None where it says that nothing fits.
    `has_minima` is False where peaks stand in for minimum memory. `created_at` and
    `memory_limit_bytes` are None where the file does not tell; `soaks` are rows as in the file.
    """

    name: str
    model: str
    results: Mapping[LoraConfig, TrialResult]
    optimum: TrialResult | None
    objective: Objective = Objective.SCORE
    complete: bool = True
    created_at: datetime.datetime | None = None
    memory_limit_bytes: int | None = None
    has_minima: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    soaks: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def naming(self) -> ConfigLabels:
        """How its configurations are named in words."""
        return ConfigLabels.of(self.results)

    @property
    def successes(self) -> list[TrialResult]:
        return [each for each in self.results.values() if each.success]


def read_profiles(path: Path) -> list[StoredProfile]:
    """The profile in `path`, or those of benchmark results, smallest model first.

    RecordingError, naming file and key, where it is neither, is newer than this version, or tells
    of nothing that was tried.
    """
    return profiles_in(read_document(path), printable(str(path)))


def just_measured(document: Mapping[str, Any], name: str) -> list[StoredProfile]:
    """As `read_profiles`, of a document that has been built, not read."""
    return profiles_in(all_printable(json.loads(json.dumps(clean(document)))), name)


def profiles_in(document: Mapping[str, Any], name: str) -> list[StoredProfile]:
    """As `read_profiles`, of a document that was found in the file `name`."""
    if "results" not in document or "all_results" in document:
        return [stored_profile(document, name)]
    check_version(document, benchmark_results.SCHEMA_VERSION, name)
    found = [stored_profile(each, name) for each in entry_profiles(document, name)]
    if not found:
        raise RecordingError(f"{name}: results: none of its models was tried: name another file")
    return found


def stored_profile(
    document: Mapping[str, Any], name: str, usual_seq_length: int = DEFAULT_MAX_SEQ_LENGTH
) -> StoredProfile:
    """One profile of ours, or any document with a model and rows like a profile's.

    Rows that name no sequence length take the document's `seq_length`, else `usual_seq_length`.
    """
    check_version(document, profile.SCHEMA_VERSION, name)
    model, rows = document.get("model"), document.get("all_results")
    if not isinstance(model, str) or not model.strip():
        raise RecordingError(f"{name}: model: it must name the model that was measured")
    if not isinstance(rows, list) or not rows:
        raise RecordingError(f"{name}: all_results: it must be a list of measured rows")
    settings = mapping(document.get("settings"))
    results = _results(rows, model, _length(document, settings) or usual_seq_length, name)
    objective = next(
        (each for each in Objective if each == document.get("objective")), Objective.SCORE
    )
    limit_gb = amount(document.get("memory_limit_gb"))
    soaks = document.get("soak")
    return StoredProfile(
        name=name,
        model=model,
        results=results,
        optimum=_optimum(document, results, objective, name),
        objective=objective,
        complete=document.get("complete") is not False,
        created_at=_time(document.get("created_at")),
        memory_limit_bytes=None if limit_gb is None else round(limit_gb * _BYTES_PER_GB),
        has_minima=settings.get(PEAKS_STAND_IN) is not True and not any(map(lacks_minimum, rows)),
        settings=settings,
        environment=_environment(document),
        data=mapping(document.get("data")),
        soaks=tuple(map(mapping, soaks)) if isinstance(soaks, list) else (),
    )


def _results(
    rows: list[Any], model: str, usual_seq_length: int, name: str
) -> dict[LoraConfig, TrialResult]:
    """By configuration; a success is not lost to a second row of the same."""
    results: dict[LoraConfig, TrialResult] = {}
    for number, row in enumerate(rows, 1):
        try:
            result = trial_result(row, model, usual_seq_length)
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise RecordingError(f"{name}: all_results: row {number}: {why(problem)}") from None
        earlier = results.get(result.config)
        if earlier is None or not (earlier.success or (earlier.started and not result.started)):
            results[result.config] = result
    return results


def _optimum(
    document: Mapping[str, Any],
    results: Mapping[LoraConfig, TrialResult],
    objective: Objective,
    name: str,
) -> TrialResult | None:
    if "optimal_batch_size" not in document:
        return best(results.values(), objective)
    lengths = {config.max_seq_length for config in results}
    # Before lengths were an axis, the optimum did not name its own.
    usual = {"optimal_max_seq_length": max(lengths), "optimal_grad_checkpoint": False}
    config = optimal_config({**usual, **document}, name)
    if config is None:
        return None
    named = results.get(config)
    return named if named is not None and named.success else best(results.values(), objective)


_Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=1_000_000_000)]


class _Optimum(pydantic.BaseModel):
    """The keys of a profile that name its optimum; null where nothing fits."""

    optimal_batch_size: _Count | None
    optimal_lora_rank: _Count | None
    optimal_lora_layers: _Count | None
    optimal_max_seq_length: Annotated[int, pydantic.Field(strict=True, ge=2)] | None
    optimal_grad_checkpoint: bool | None

    @property
    def config(self) -> LoraConfig | None:
        batch, rank = self.optimal_batch_size, self.optimal_lora_rank
        layers, length = self.optimal_lora_layers, self.optimal_max_seq_length
        if batch is None or rank is None or layers is None or length is None:
            return None
        return LoraConfig(batch, rank, layers, length, self.optimal_grad_checkpoint or False)


def optimal_config(document: Mapping[str, Any], name: str) -> LoraConfig | None:
    """What the `optimal_*` keys name; RecordingError where they are missing or mistaken."""
    try:
        return _Optimum.model_validate(document).config
    except pydantic.ValidationError as problem:
        first = problem.errors()[0]
        said = "it is missing" if first["type"] == "missing" else first["msg"]
        raise RecordingError(
            f"{name}: {first['loc'][0]}: {said[:1].lower()}{said[1:]}: name a profile as a sweep "
            "writes it"
        ) from None


def _environment(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Foreign recordings name their device beside the rows."""
    environment = mapping(document.get("environment"))
    device = document.get("device")
    return environment or ({"device": device} if isinstance(device, str) else {})


def _length(document: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    for value in (document.get("seq_length"), settings.get("max_seq_length")):
        if isinstance(value, int) and value > 1:
            return value
    return None


def _time(text: Any) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
