"""Console lines of a walk over models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_yourai.core.answers import Answers
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes, plural
from pytest_yourai.report.answer_lines import AnswerTitles, other_answers
from pytest_yourai.report.styles import Style, StyledLine, like
from pytest_yourai.report.trial_lines import optimum_figures, remarks
from pytest_yourai.sweep.preflight import Preflight

INDENT = " " * 6


def title(models: int, rule: str) -> Iterator[str]:
    """The title and the number of models."""
    yield from ("", rule, "Model Benchmark", rule)
    yield f"Trying {plural(models, 'model')}, smallest first, until one does not fit"


def preflight_lines(name: str, found: Preflight, naming: ConfigLabels) -> Iterator[str]:
    """Memory that a model requires, and what to do if that is more than is available.

    `naming` is that of the model's default rows.
    """
    yield (
        f"Pre-flight {name}: {gigabytes(found.available_bytes)} available, "
        f"{gigabytes(found.minimum_bytes)} required (weights {gigabytes(found.weights_bytes)}), "
        f"{gigabytes(found.conservative_bytes)} conservatively, for {naming.name(found.config)}"
    )
    yield from shortage_lines(found)


def shortage_lines(found: Preflight) -> Iterator[str]:
    """A warning if too little memory is available; else nothing."""
    if not found.missing_bytes:
        return
    held = ", ".join(
        f"{each.name} {gigabytes(each.held_bytes)} (process {each.pid})" for each in found.holders
    )
    yield (
        f"Warning: {gigabytes(found.available_bytes)} available may be too little: free "
        f"{gigabytes(found.missing_bytes)} first{f'; most is held by {held}' if held else ''}"
    )


def model_line(index: int, total: int, name: str, params: str, verdict: str, width: int) -> str:
    """The line of a model: its size, and the verdict on it."""
    return f"[{index}/{total}] {name:{width}}  ({params:>4}) ... {verdict}"


def verdict(result: TrialResult, weights: str) -> str:
    """The verdict of a check; `weights` is empty if the model was never inspected."""
    match result.outcome:
        case Outcome.OK:
            need, peak = result.minimum_memory_bytes or 0, result.peak_memory_bytes or 0
            text = f"✓ Pass (needs {gigabytes(need)}, takes {gigabytes(peak)}), {weights}"
        case Outcome.SKIPPED | Outcome.UNAVAILABLE:
            text = f"- {result.outcome}: {result.error}"
        case _:
            text = f"✗ {result.outcome.replace('_', ' ')}: {result.error}"
            text += f" ({weights})" if weights else ""
    return text + remarks(result)


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Lines below that of a model, indented, without blank ones."""
    return (like(line, INDENT + line) for line in lines if line)


def answer_lines(
    answers: Answers, first: TrialResult | None, titles: AnswerTitles, naming: ConfigLabels
) -> Iterator[str]:
    """The answers of a model's sweep, beginning with the `first`."""
    if first is None:
        yield "Largest: none, no configuration was measured to its end"
        return
    yield f"{titles.of(answers.names(first))}: {optimum_figures(first, naming)}"
    yield from other_answers(answers, first, titles, naming)


def conclusion(recommended: str | None, alternatives: Sequence[str]) -> Iterator[str]:
    """The recommended model, and the others that fit, larger ones first."""
    if recommended is None:
        yield "Recommended: none of these models was seen to fit"
        return
    yield StyledLine(f"Recommended: {recommended} (largest model that fits)", Style.ANSWER)
    if alternatives:
        yield f"Alternatives: {', '.join(alternatives)}"
