"""Reads profiles, benchmark results, and rows like theirs that other programs wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from pytest_yourai.core.conditions import Environment, SweepSettings
from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, LoraConfig, Objective, recorded_keys
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.files import check_version, mapping, read_document
from pytest_yourai.core.ranking import best
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import all_printable, clean, printable
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.core.units import GB
from pytest_yourai.store import benchmark_results, profile
from pytest_yourai.store.benchmark_results import read_entries
from pytest_yourai.store.config_rows import ConfigRow
from pytest_yourai.store.data_rows import DataRow
from pytest_yourai.store.foreign_rows import amount, lacks_minimum
from pytest_yourai.store.rows import SoakRow, TrialRow
from pytest_yourai.store.schema import first_problem, read_leniently
from pytest_yourai.store.stored_profile import StoredProfile

_MOST_RANKS = 10_000
"""As a shared file may have."""


def read_profiles(path: Path, *, checks_digest: bool = True) -> list[StoredProfile]:
    """The profile in `path`, or those of benchmark results, smallest model first.

    RecordingError, naming file and key, if it is neither, is newer than this version, or has no
    trial.
    """
    document = read_document(path, checks_digest=checks_digest)
    return profiles_in(document, printable(str(path)))


def read_profile_of(path: Path, names: Collection[str]) -> StoredProfile:
    """The profile in `path`; of benchmark results that of the model with one of `names`.

    There the sweep counts if something fitted in it, else the check. RecordingError as of
    `read_profiles`, and if the model is not among the results.
    """
    document, name = read_document(path), printable(str(path))
    if not _is_of_several(document):
        return stored_profile(document, name)
    entries = read_entries(document, name)
    entry = next((each for each in entries if each.preset in names), None)
    if entry is None:
        known = ", ".join(each.preset for each in entries) or "no model"
        raise RecordingError(f"{name} has {known}, and not {min(names)}: name another profile")
    found = entry.optimal_config if entry.has_optimum else entry.check_profile(document)
    found = found or entry.optimal_config
    if found is None:
        raise RecordingError(f"{name}: {entry.preset} was not tried: name another profile")
    return stored_profile(found, name)


def parse_written(document: Mapping[str, Any], name: str) -> list[StoredProfile]:
    """The profiles in `document`, as they would be read from the file `name` once written."""
    return profiles_in(all_printable(json.loads(json.dumps(clean(document)))), name)


def profiles_in(document: Mapping[str, Any], name: str) -> list[StoredProfile]:
    """The profiles in `document`, found in the file `name`; errors as of `read_profiles`."""
    if not _is_of_several(document):
        return [stored_profile(document, name)]
    check_version(document, benchmark_results.SCHEMA_VERSION, name)
    tried = (
        each.optimal_config or each.check_profile(document) for each in read_entries(document, name)
    )
    found = [stored_profile(each, name) for each in tried if each is not None]
    if not found:
        raise RecordingError(f"{name}: results: none of its models was tried: name another file")
    return found


def _is_of_several(document: Mapping[str, Any]) -> bool:
    """True for benchmark results."""
    return "results" in document and "all_results" not in document


def _settings(document: Mapping[str, Any], name: str) -> SweepSettings:
    known = {each.name for each in dataclasses.fields(SweepSettings)}
    found = mapping(document.get("settings"))
    # Left out like others, it would make batches of several ranks those of one process.
    ranks = found.get("world_size")
    if ranks is not None and not (type(ranks) is int and 1 <= ranks <= _MOST_RANKS):
        raise RecordingError(
            f"{name}: settings.world_size: {ranks!r} is not a number of ranks: name a profile as a "
            "sweep writes it"
        )
    read = read_leniently(SweepSettings, {key: found[key] for key in found if key in known})
    return dataclasses.replace(read, recipe={key: found[key] for key in found if key not in known})


def stored_profile(
    document: Mapping[str, Any], name: str, usual_seq_length: int = DEFAULT_MAX_SEQ_LENGTH
) -> StoredProfile:
    """A profile, or any document with a model and rows like a profile's.

    Rows without a sequence length have the document's `seq_length`, else `usual_seq_length`.
    """
    check_version(document, profile.SCHEMA_VERSION, name)
    model, rows = document.get("model"), document.get("all_results")
    if not isinstance(model, str) or not model.strip():
        raise RecordingError(f"{name}: model: it must name the model that was measured")
    if not isinstance(rows, list) or not rows:
        raise RecordingError(f"{name}: all_results: it must be a list of measured rows")
    settings = _settings(document, name)
    length = _length(document, settings) or usual_seq_length
    usual_keys = recorded_keys(settings.lora_keys or ())
    limit_gb = amount(document.get("memory_limit_gb"))
    limit_bytes = None if limit_gb is None else round(limit_gb * GB)
    context = {"usual_seq_length": length, "usual_keys": usual_keys}
    results = _results(rows, model, limit_bytes, context, name)
    objective = next(
        (each for each in Objective if each == document.get("objective")), Objective.SCORE
    )
    return StoredProfile(
        name=name,
        model=model,
        results=results,
        optimum=_optimum(document, results, objective, usual_keys, name),
        objective=objective,
        complete=document.get("complete") is not False,
        created_at=_time(document.get("created_at")),
        memory_limit_bytes=limit_bytes,
        has_minima=not settings.peaks_stand_in_for_minima and not any(map(lacks_minimum, rows)),
        settings=settings,
        environment=_environment(document),
        data=read_leniently(DataRow, document["data"]) if mapping(document.get("data")) else None,
        soaks=tuple(_soaks(document.get("soak"), length, usual_keys)),
        others=tuple(_others(document.get("other_results"), model, length, usual_keys)),
        identity=_text(document.get("identity")),
    )


def _results(
    rows: list[Any],
    model: str,
    memory_limit_bytes: int | None,
    context: Mapping[str, Any],
    name: str,
) -> dict[LoraConfig, TrialResult]:
    """Results by configuration; a second row of the same does not replace a success."""
    results: dict[LoraConfig, TrialResult] = {}
    for number, row in enumerate(rows, 1):
        try:
            read = TrialRow.model_validate(row, context=context)
            result = read.to_result(model, memory_limit_bytes)
        except pydantic.ValidationError as problem:
            where = f"{name}: all_results: row {number}"
            said = f"{where}: {first_problem(problem)}"
            raise RecordingError(f"{said}; name a profile as a sweep writes it") from None
        earlier = results.get(result.config)
        if earlier is None or not (earlier.success or (earlier.started and not result.started)):
            results[result.config] = result
    return results


def _others(rows: Any, model: str, usual_seq_length: int, usual_keys: str) -> Iterator[TrialResult]:
    """Those that can be read: a profile is good without its other measurements."""
    context = {"usual_seq_length": usual_seq_length, "usual_keys": usual_keys}
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(pydantic.ValidationError):
            yield TrialRow.model_validate(row, context=context).to_result(model)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _soaks(rows: Any, usual_seq_length: int, usual_keys: str) -> Iterator[SoakResult]:
    """Those that can be read: a profile is good without its soaks."""
    usual = {
        "max_seq_length": usual_seq_length,
        "grad_checkpoint": False,
        "lora_keys": usual_keys,
    }
    for row in map(mapping, rows if isinstance(rows, list) else ()):
        with contextlib.suppress(pydantic.ValidationError):
            yield SoakRow.model_validate({**usual, **row}).to_result()


def _optimum(
    document: Mapping[str, Any],
    results: Mapping[LoraConfig, TrialResult],
    objective: Objective,
    usual_keys: str,
    name: str,
) -> TrialResult | None:
    if "optimal_batch_size" not in document:
        return best(results.values(), objective)
    # Before these were axes, the optimum did not name its own.
    given = {
        "optimal_max_seq_length": max(config.max_seq_length for config in results),
        "optimal_lora_keys": usual_keys,
        **document,
        "optimal_grad_checkpoint": document.get("optimal_grad_checkpoint") or False,
    }
    keys = {key: f"optimal_{key}" for key in ConfigRow.model_fields}
    named = {key: given[keys[key]] for key in keys if keys[key] in given}
    if None in named.values():
        return None
    try:
        found = results.get(ConfigRow.model_validate(named).config)
    except pydantic.ValidationError as problem:
        said = f"optimal_{first_problem(problem)}"
        raise RecordingError(f"{name}: {said}: name a profile as a sweep writes it") from None
    return found if found is not None and found.success else best(results.values(), objective)


def _environment(document: Mapping[str, Any]) -> Environment:
    """Foreign recordings name their device beside the rows."""
    found = read_leniently(Environment, document.get("environment"))
    return (
        found if found.is_known else read_leniently(Environment, {"device": document.get("device")})
    )


def _length(document: Mapping[str, Any], settings: SweepSettings) -> int | None:
    for value in (document.get("seq_length"), settings.recipe.get("max_seq_length")):
        if isinstance(value, int) and value > 1:
            return value
    return None


def _time(text: Any) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
