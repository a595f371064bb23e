"""The result of a walk, as lines of text."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.answers import find_answers
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.system_memory import ProcessUse
from pytest_yourai.report import walk_lines
from pytest_yourai.report.answer_lines import AnswerTitles
from pytest_yourai.sweep.preflight import Preflight

GB = 1_000_000_000
CONFIG = LoraConfig(2, 64, 16, 512)
ENOUGH = Preflight(
    CONFIG,
    available_bytes=24 * GB,
    weights_bytes=4 * GB,
    minimum_bytes=8 * GB,
    conservative_bytes=9 * GB,
)
OK = TrialResult(
    "llama-8b",
    CONFIG,
    Outcome.OK,
    step_times_s=(1.0,),
    step_tokens=(1022,),
    minimum_memory_bytes=round(7.5 * GB),
    peak_memory_bytes=round(12.4 * GB),
)


USUAL = ConfigLabels.of([LoraConfig(1, 1, 1, 512)])


def line(result: TrialResult, weights: str = "synthetic 4-bit") -> str:
    return walk_lines.model_line(
        1, 5, "llama-8b", "8B", walk_lines.verdict(result, weights), width=17
    )


def test_before_a_model_is_loaded_what_there_is_and_what_it_asks_for() -> None:
    [line] = walk_lines.preflight_lines("llama-8b", ENOUGH, USUAL)
    assert line == (
        "Pre-flight llama-8b: 24.0 GB available, 8.0 GB required (weights 4.0 GB), 9.0 GB "
        "conservatively, for batch=2, rank=64, layers=16"
    )


def test_rows_that_are_not_the_models_usual_ones_are_named() -> None:
    unusual = dataclasses.replace(CONFIG, max_seq_length=64, grad_checkpoint=True)
    [line] = walk_lines.preflight_lines(
        "llama-8b", dataclasses.replace(ENOUGH, config=unusual), USUAL
    )
    assert line.endswith("for batch=2, rank=64, layers=16, seq=64, checkpoint=on")


def test_what_belongs_to_a_model_is_under_its_line() -> None:
    assert list(walk_lines.indented(["Training data: 5 rows", "  1–8", ""])) == [
        "      Training data: 5 rows",
        "        1–8",
    ]


def test_where_that_may_be_too_little_how_much_to_free_and_who_holds_it() -> None:
    holders = (ProcessUse("browser", 12, 3 * GB), ProcessUse("editor", 7, GB))
    short = dataclasses.replace(ENOUGH, available_bytes=round(7.5 * GB), holders=holders)
    _, warning = walk_lines.preflight_lines("llama-8b", short, USUAL)
    assert warning == (
        "Warning: 7.5 GB available may be too little: free 1.5 GB first; most is held by browser "
        "3.0 GB (process 12), editor 1.0 GB (process 7)"
    )
    of_a_gpu = dataclasses.replace(short, holders=())
    assert list(walk_lines.shortage_lines(of_a_gpu)) == [
        "Warning: 7.5 GB available may be too little: free 1.5 GB first"
    ]


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        (Outcome.OK, None, "✓ Pass (needs 7.5 GB, takes 12.4 GB), synthetic 4-bit"),
        (Outcome.OVER_BUDGET, "needs 9 GB", "✗ over budget: needs 9 GB (synthetic 4-bit)"),
        (Outcome.SAFETY_STOP, "stopped", "✗ safety stop: stopped (synthetic 4-bit)"),
        (Outcome.SKIPPED, "no smaller than x", "- skipped: no smaller than x"),
        (Outcome.UNAVAILABLE, "gated", "- unavailable: gated"),
    ],
)
def test_each_outcome_has_its_verdict(outcome: Outcome, reason: str, expected: str) -> None:
    result = dataclasses.replace(OK, outcome=outcome, reason=reason)
    assert line(result) == f"[1/5] llama-8b           (  8B) ... {expected}"


def test_what_was_not_looked_at_has_no_weights_and_what_was_kept_says_so() -> None:
    failed = dataclasses.replace(OK, outcome=Outcome.ERROR, reason="no config", kept=True)
    assert line(failed, weights="").endswith("... ✗ error: no config (kept)")


def test_each_answer_is_one_line_the_first_with_its_score() -> None:
    naming = ConfigLabels.of([CONFIG])
    titles = AnswerTitles([], Objective.SCORE)
    [alone] = walk_lines.answer_lines(find_answers([OK]), OK, titles, naming)
    assert alone == (
        "Largest, fastest, leanest: batch=2, rank=64, layers=16: score 2,048, 1,022 tokens/s, "
        "needs 7.5 GB"
    )
    fast = dataclasses.replace(
        OK, config=dataclasses.replace(CONFIG, batch_size=1), step_times_s=(0.2,)
    )
    first, other = walk_lines.answer_lines(find_answers([OK, fast]), OK, titles, naming)
    assert first.startswith("Largest: batch=2, rank=64, layers=16: score 2,048")
    assert other.startswith("Fastest, leanest: batch=1, rank=64, layers=16 (5,110 tokens/s, ")
    [none] = walk_lines.answer_lines(find_answers([]), None, titles, naming)
    assert "none" in none


@pytest.mark.parametrize(
    ("recommended", "alternatives", "expected"),
    [
        (None, [], ["Recommended: none of these models was seen to fit"]),
        ("a", [], ["Recommended: a (largest model that fits)"]),
        ("a", ["b", "c"], ["Recommended: a (largest model that fits)", "Alternatives: b, c"]),
    ],
)
def test_the_conclusion(
    recommended: str | None, alternatives: list[str], expected: list[str]
) -> None:
    assert list(walk_lines.conclusion(recommended, alternatives)) == expected


def test_one_model_is_written_in_the_singular() -> None:
    assert "Trying 1 model, smallest first, until one does not fit" in walk_lines.title(1, "━")
    assert "Trying 2 models, smallest first, until one does not fit" in walk_lines.title(2, "━")
