"""What a walk over models says on the console, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.results import Outcome, TrialResult
from pytest_yourai.core.units import gigabytes, machine_memory
from pytest_yourai.machine.budget import Budget
from pytest_yourai.report.trial_lines import optimum_figures, remarks
from pytest_yourai.sweep.preflight import Preflight

INDENT = " " * 6


def title(models: int, rule: str) -> Iterator[str]:
    """What is about to be tried."""
    yield ""
    yield rule
    yield "Model Benchmark"
    yield rule
    yield f"Trying {models} model{'s' * (models != 1)}, smallest first, until one does not fit"


def where(
    *, budget: Budget, system_memory_bytes: int, device: str, notes: Sequence[str]
) -> Iterator[str]:
    """Where it is tried, once a worker has told."""
    yield f"Device: {device}, system memory: {machine_memory(system_memory_bytes)}"
    yield f"Memory limit: {budget}"
    for note in notes:
        yield f"Note: {note}"
    yield ""


def preflight_lines(name: str, found: Preflight, naming: ConfigLabels) -> Iterator[str]:
    """What a model asks of the machine, and what to do where that is more than there is.

    `naming` is that of the model's usual rows.
    """
    yield (
        f"Pre-flight {name}: {gigabytes(found.available_bytes)} available, "
        f"{gigabytes(found.minimum_bytes)} required (weights {gigabytes(found.weights_bytes)}), "
        f"{gigabytes(found.conservative_bytes)} conservatively, for {naming.name(found.config)}"
    )
    yield from shortage_lines(found)


def shortage_lines(found: Preflight) -> Iterator[str]:
    """Nothing where enough is available."""
    if not found.missing_bytes:
        return
    held = ", ".join(
        f"{each.name} {gigabytes(each.held_bytes)} (process {each.pid})" for each in found.holders
    )
    yield (
        f"Warning: {gigabytes(found.available_bytes)} available may be too little: free "
        f"{gigabytes(found.missing_bytes)} first{f'; most is held by {held}' if held else ''}"
    )


def model_line(index: int, total: int, name: str, params: str, said: str, width: int) -> str:
    """One line for a model; `said` is how it ended, or what is to be done."""
    return f"[{index}/{total}] {name:{width}}  ({params:>4}) ... {said}"


def verdict(result: TrialResult, weights: str) -> str:
    """How the check of a model ended; `weights` is empty where it was not looked at."""
    return _ending(result, weights) + remarks(result)


def sweep_alone(weights: str) -> str:
    """In the place of a verdict, where the check of a model was not selected."""
    return f"swept without a check, {weights}"


def indented(lines: Iterable[str]) -> Iterator[str]:
    """What belongs to the line of a model, without blank lines."""
    return (INDENT + line for line in lines if line)


def _ending(result: TrialResult, weights: str) -> str:
    match result.outcome:
        case Outcome.OK:
            return f"✓ Pass ({gigabytes(result.peak_memory_bytes or 0)}), {weights}"
        case Outcome.SKIPPED | Outcome.UNAVAILABLE:
            return f"- {result.outcome}: {result.error}"
        case _:
            used = f" ({weights})" if weights else ""
            return f"✗ {result.outcome.replace('_', ' ')}: {result.error}{used}"


def optimum_line(optimum: TrialResult | None, naming: ConfigLabels) -> str:
    """The answer of a model's sweep."""
    if optimum is None:
        return "Optimal: none, no configuration was measured to its end"
    return f"Optimal: {naming.name(optimum.config)}: {optimum_figures(optimum)}"


def conclusion(recommended: str | None, alternatives: Sequence[str]) -> Iterator[str]:
    """The model to take, and those that fit as well, larger ones first."""
    if recommended is None:
        yield "Recommended: none of these models was seen to fit"
        return
    yield f"Recommended: {recommended} (largest model that fits)"
    if alternatives:
        yield f"Alternatives: {', '.join(alternatives)}"
