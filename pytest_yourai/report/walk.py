"""What a walk over models says on the console, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_yourai.memory.budget import Budget
from pytest_yourai.naming import Naming
from pytest_yourai.preflight import Preflight
from pytest_yourai.report.terminal import RULE, remarks
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.units import gigabytes, machine_memory

INDENT = " " * 6


def title(models: int) -> Iterator[str]:
    """What is about to be tried."""
    yield ""
    yield RULE
    yield "Model Benchmark"
    yield RULE
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


def preflight_lines(name: str, found: Preflight) -> Iterator[str]:
    """What a model asks of the machine, and what to do where that is more than there is."""
    yield (
        f"Pre-flight {name}: {gigabytes(found.available_bytes)} available, "
        f"{gigabytes(found.minimum_bytes)} required (weights {gigabytes(found.weights_bytes)}), "
        f"{gigabytes(found.conservative_bytes)} conservatively, for {found.config}"
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


def check_line(
    index: int, total: int, name: str, params: str, weights: str, result: TrialResult, width: int
) -> str:
    """One line for a model that was tried."""
    return (
        f"[{index}/{total}] {name:{width}}  ({params:>4}) ... {_verdict(result, weights)}"
        f"{remarks(result)}"
    )


def _verdict(result: TrialResult, weights: str) -> str:
    match result.outcome:
        case Outcome.OK:
            return f"✓ Pass ({gigabytes(result.peak_memory_bytes or 0)}), {weights}"
        case Outcome.SKIPPED | Outcome.UNAVAILABLE:
            return f"- {result.outcome}: {result.reason}"
        case _:
            used = f" ({weights})" if weights else ""
            return f"✗ {result.outcome.replace('_', ' ')}: {result.reason}{used}"


def optimum_line(optimum: TrialResult | None, naming: Naming) -> str:
    """The answer of a model's sweep, under the line of its check."""
    if optimum is None:
        return f"{INDENT}Optimal: none, no configuration was measured to its end"
    config = optimum.config
    return (
        f"{INDENT}Optimal: {naming.name(config)}: {gigabytes(optimum.peak_memory_bytes or 0)}, "
        f"throughput {config.throughput_score:,}, {optimum.tokens_per_second or 0:,.0f} tokens/s"
    )


def conclusion(recommended: str | None, alternatives: Sequence[str]) -> Iterator[str]:
    """The model to take, and those that fit as well, larger ones first."""
    if recommended is None:
        yield "Recommended: none of these models was seen to fit"
        return
    yield f"Recommended: {recommended} (largest model that fits)"
    if alternatives:
        yield f"Alternatives: {', '.join(alternatives)}"
