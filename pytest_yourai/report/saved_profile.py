"""The profile of a session: what was measured before is merged into it, or kept beside it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.files import mapping, read_document, write_json
from pytest_yourai.core.keeping import keep_aside, sole_writer
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.units import plural
from pytest_yourai.plan.stages import RunPlan
from pytest_yourai.report.training_commands import shorter_rows_commands, training_commands
from pytest_yourai.store import profile
from pytest_yourai.store.compare.differences import differences
from pytest_yourai.store.merging import is_same_budget
from pytest_yourai.store.profile_reader import parse_written, profiles_in
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.run_results import RunResults


@dataclass(frozen=True)
class OutputLine:
    """The line about a file; `is_failure` if it could not be written."""

    text: str
    is_failure: bool = False
    saves_profile: bool = False


@dataclass(frozen=True)
class SavedProfile:
    """The document that was written, or would have been, and the lines about it."""

    document: Mapping[str, Any]
    lines: tuple[OutputLine, ...]


def save_profile(
    plan: RunPlan, results: RunResults, shown_path: Callable[[Path], str]
) -> SavedProfile:
    """Write the profile, or the benchmark results.

    Rows of an earlier run of the same identity are merged into it; another file with measurements
    is kept under a dated name. Two sessions that end at once do so one after the other.
    """
    path = plan.options.output
    with sole_writer(path):
        earlier = _read_earlier(path)
        is_merged = earlier is not None and earlier.can_be_merged_into(results)
        document = results.document()
        _add_commands(document, shown_path(path))
        try:
            kept = None
            if earlier is not None and not is_merged and earlier.has_more_than(document):
                created = earlier.profiles[0].created_at if earlier.profiles else None
                kept = keep_aside(path, created, profile.OUTPUT_FLAG)
            write_json(path, document, profile.OUTPUT_FLAG)
        except OutputError as problem:
            return SavedProfile(document, tuple(_not_saved(plan, results, problem)))
    of_before = _of_before(results) if is_merged else None
    known = f", with {of_before}" if of_before else ""
    lines = [OutputLine(f"Saved to: {shown_path(path)}{known}", saves_profile=True)]
    if kept is not None and earlier is not None:
        why = earlier.why_apart(document, _planned(plan))
        lines.append(OutputLine(f"Kept as {shown_path(kept)}: {why}"))
    return SavedProfile(document, tuple(lines))


def _planned(plan: RunPlan) -> list[LoraConfig]:
    """The configurations of all sweeps of a run."""
    setups = (stage.setup for stage in plan.stages if not stage.is_check)
    return [config for setup in setups if setup for config in setup.plan.configs]


def _add_commands(document: Mapping[str, Any], name: str) -> None:
    """Write into each profile in `document`, the file `name`, how to train with its answers."""
    swept = [each["optimal_config"] for each in document.get("results", ())] or [document]
    answers = {each["model"]: each["answers"] for each in swept if each and "answers" in each}
    of_data = {each["model"]: each["data"] for each in swept if each and "answers" in each}
    try:
        profiles = parse_written(document, name)
    except RecordingError:
        return
    for each in profiles:
        # The check of a walk is a profile without answers.
        of_model = answers.get(each.model, {})
        for found in training_commands(each) if of_model else ():
            for pick in found.names:
                of_model[pick.value]["command"] = found.text
        offers = (of_data.get(each.model) or {}).get("shorter_rows", ())
        for offer, text in zip(offers, shorter_rows_commands(each), strict=False):
            offer["command"] = text


def _not_saved(plan: RunPlan, results: RunResults, problem: OutputError) -> Iterator[OutputLine]:
    yield OutputLine(f"Not saved: {problem}", is_failure=True)
    if results.journal_problem is None:
        yield OutputLine(f"The journal has it all: {plan.options.log}")


def _of_before(results: RunResults) -> str | None:
    """What a merged document has of earlier runs, in words; None if nothing counts."""
    rows = results.merged_rows
    if rows is None:
        return "the models of the earlier run"
    old = [each.config for each in rows.results if each not in results.results]
    if not old:
        return None
    count = f"{plural(len(old), 'row')} of earlier runs"
    best = results.best_of(rows)
    if best is None or best.config not in old:
        return count
    return f"{count}, among them the best: {ConfigLabels.of(old).name(best.config)}"


@dataclass(frozen=True)
class _Earlier:
    """The file that is there; without `profiles` if it is not one of ours, or nothing was tried."""

    document: Mapping[str, Any] | None
    profiles: tuple[StoredProfile, ...]

    def has_more_than(self, document: Mapping[str, Any]) -> bool:
        """True unless it is known to hold no measurements, or only those that were replayed again.

        Another replay of one recording finds there what the earlier one has found.
        """
        if self.document is None or not self.profiles:
            return True
        now = mapping(document.get("settings")).get("replay"), document.get("model")
        return any(
            each.measured
            and (each.settings.replay is None or (each.settings.replay, each.model) != now)
            for each in self.profiles
        )

    def can_be_merged_into(self, results: RunResults) -> bool:
        if self.document is None or not self.profiles:
            return False
        if "all_results" in self.document:
            return results.merge(self.profiles[0])
        return results.merge_models(self.document)

    def why_apart(self, document: Mapping[str, Any], planned: Collection[LoraConfig]) -> str:
        """What the file is that is kept under another name, where `planned` was to be run."""
        if not self.profiles:
            return "what was there: no profile that this version can read"
        models = {each.model for each in self.profiles}
        if "all_results" in document and models != {document.get("model")}:
            return f"the earlier profile: of {', '.join(sorted(models))}"
        if "all_results" not in document:
            return "the earlier results: of other models, settings, budget or machine"
        if "all_results" not in (self.document or {}):
            return "the earlier results: of a run over several models"
        why = next(self._differences(document), "of another matrix")
        if not self.profiles[0].results.keys() <= set(planned):
            why = "of another matrix"
        return f"the earlier profile: {why}"

    def _differences(self, document: Mapping[str, Any]) -> Iterator[str]:
        """Those of the conditions of two profiles; a budget that was detected varies a little."""
        [now], [before] = parse_written(document, ""), self.profiles
        limits = before.memory_limit_bytes, now.memory_limit_bytes
        same = limits[0] if is_same_budget(*limits) else limits[1]
        now = dataclasses.replace(now, complete=True, memory_limit_bytes=same)
        yield from differences(before, now)


def _read_earlier(path: Path) -> _Earlier | None:
    """What is in the file; None if there is none."""
    if not os.path.lexists(path) or not path.exists():
        return None
    try:
        document = read_document(path)
        return _Earlier(document, tuple(profiles_in(document, path.name)))
    except RecordingError:
        return _Earlier(None, ())
