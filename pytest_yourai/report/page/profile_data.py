"""One profile as plain JSON for the page: bytes, seconds, and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_yourai.core.axes import AXES, MAX_SEQ_LENGTH, Axis
from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.noise import noise_of
from pytest_yourai.core.outcomes import LETTERS, Outcome
from pytest_yourai.core.ranking import pareto, soak_survivors
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.estimate.predictor import PredictionErrors
from pytest_yourai.report.answer_lines import AnswerTitles, beaten_note, fits_sentence
from pytest_yourai.report.profile_facts import machine, settings, soak_data, training_data
from pytest_yourai.report.tables import noise_notes, ranked_rows
from pytest_yourai.report.training_commands import TrainingCommand, training_commands
from pytest_yourai.report.trial_lines import none_fits
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.stored_profile import StoredProfile

_MOST_REASONS = 3
"""Reasons shown per outcome; further ones differ in their numbers alone."""


def outcome_data() -> dict[str, Any]:
    """Letter, name in words, and kind of each outcome."""
    return {
        each.value: {
            "letter": LETTERS[each],
            "words": each.value.replace("_", " "),
            "kind": _kind(each),
        }
        for each in Outcome
    }


def _kind(outcome: Outcome) -> str:
    if outcome is Outcome.OK:
        return "ok"
    if outcome.is_memory_failure:
        return "memory"
    return "failure" if outcome.is_failure else "unknown"


def profile_data(profile: StoredProfile) -> dict[str, Any]:
    """The JSON of one profile, rows best first.

    `optimum`, `unbeaten`, `frontier`, and the row of each of the `answers` are indices of its rows.
    """
    results = ranked_rows(profile)
    lasting = soak_survivors(results, profile.soaks)
    lasting_configs = {each.config for each in lasting}
    numbers = {result.config: number for number, result in enumerate(results)}
    answers = [
        _answer(profile, each, numbers[each.result.config]) for each in training_commands(profile)
    ]
    return {
        **heading_data(profile),
        "title": title(profile),
        "complete": profile.complete,
        "objective": profile.objective.value,
        "memory_limit_bytes": profile.memory_limit_bytes,
        "has_minima": profile.has_minima,
        "axes": list(map(_axis, profile.naming.varying)),
        "margin": SAFETY_MARGIN,
        "rows": [
            {**row_data(each, profile.naming), "lasting": each.config in lasting_configs}
            for each in results
        ],
        "optimum": profile.headline and numbers[profile.headline.config],
        "answers": answers,
        "unbeaten": [numbers[each.config] for each in pareto(lasting)],
        "frontier": [numbers[each.config] for each in frontier(lasting)],
        "heading": _heading(profile),
        "noise": list(noise_notes(lasting)),
        "outcomes": _outcome_counts(results),
        "command": answers[0]["command"] if answers else None,
        "prediction": _prediction(results),
        "machine": machine(profile.environment),
        "versions": list(profile.environment.versions.items()),
        "settings": settings(profile.settings),
        "soaks": [soak_data(each, profile.naming) for each in profile.soaks],
        "data": training_data(profile.data),
    }


def heading_data(profile: StoredProfile) -> dict[str, Any]:
    """What a profile is called; all that a page has of one whose trials it leaves out."""
    return {
        "name": profile.name,
        "model": profile.model,
        "created_at": profile.created_at and profile.created_at.isoformat(),
    }


def _answer(profile: StoredProfile, found: TrainingCommand, row: int) -> dict[str, Any]:
    """One of the answers, the headline first: its names, its row, and how to train with it."""
    return {
        "names": [each.value for each in found.names],
        "row": row,
        "fits": fits_sentence(found.result, has_minimum=profile.has_minima),
        "note": beaten_note(found.result, profile.remaining, profile.naming),
        "command": {"text": found.text, "notes": list(found.notes)},
    }


def title(profile: StoredProfile) -> str:
    """Model and machine: `llama-8b on NVIDIA H200`."""
    machine_name = profile.environment.device or profile.environment.chip
    ranks = profile.settings.ranks
    several = "" if ranks == 1 else f", {profile.settings.ranks_text}"
    return (f"{profile.model} on {machine_name}" if machine_name else profile.model) + several


def _axis(axis: Axis) -> dict[str, str]:
    unit = "tokens" if axis is MAX_SEQ_LENGTH else ""
    return {"key": axis.key, "title": axis.title, "unit": unit}


def _heading(profile: StoredProfile) -> str:
    first = profile.headline
    if first is None:
        return none_fits(profile.results.values(), has_soaks=bool(profile.soaks))
    titles = AnswerTitles(list(profile.results.values()), profile.objective)
    return titles.heading(profile.answers.names(first)) + ("" if profile.complete else ", so far")


def row_data(result: TrialResult, naming: ConfigLabels) -> dict[str, Any]:
    """One trial: its row of the profile, and what is computed from it."""
    config, noise = result.config, noise_of(result)
    absent = {axis.key: None for axis in AXES if not axis.applies_to(config)}
    return {
        **TrialRow.from_result(result).as_json(),
        **absent,
        "score_factors": list(config.score_factors),
        "name": naming.name(result.config),
        "safe_memory_bytes": result.safe_memory_bytes,
        "exceeds_budget": result.exceeds_budget,
        "recorded_without_budget": RECORDED_WITHOUT_BUDGET in result.warnings,
        "prediction_error": prediction_error(result),
        "step_time_s": result.step_time_s,
        "noise": noise and {"share": noise.share, "outliers": noise.outliers},
        "step_tokens": sorted(set(result.step_tokens)),
        "warmup_step_times_s": _rounded(result.warmup_step_times_s),
        "step_times_s": _rounded(result.step_times_s),
    }


def prediction_error(result: TrialResult) -> float | None:
    """Relative error of the predicted minimum memory, positive if it was too high."""
    predicted, measured = result.predicted_minimum_memory_bytes, result.minimum_memory_bytes
    return predicted / measured - 1 if predicted and measured else None


def frontier(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Results that none beats in speed without more memory, by ascending memory."""
    measured = [
        (each.minimum_memory_bytes, each.tokens_per_second or 0, each)
        for each in results
        if each.success and each.minimum_memory_bytes
    ]
    found: list[TrialResult] = []
    fastest = 0.0
    for _, speed, result in sorted(measured, key=lambda each: (each[0], -each[1])):
        if speed > fastest:
            fastest = speed
            found.append(result)
    return found


def _outcome_counts(results: Sequence[TrialResult]) -> list[dict[str, Any]]:
    errors = {
        outcome: [each.error for each in results if each.outcome is outcome] for outcome in Outcome
    }
    return [
        {
            "outcome": outcome.value,
            "count": len(found),
            "reasons": list(dict.fromkeys(filter(None, found)))[:_MOST_REASONS],
        }
        for outcome, found in errors.items()
        if found
    ]


def _prediction(results: Sequence[TrialResult]) -> Mapping[str, Any] | None:
    errors = PredictionErrors.of(results).errors
    if not errors:
        return None
    return {"mean": sum(errors) / len(errors), "largest": max(errors), "trials": len(errors)}


def _rounded(times_s: Sequence[float]) -> list[float]:
    """Times rounded to a microsecond: finer digits are noise, and make the page larger."""
    return [round(each, 6) for each in times_s]
