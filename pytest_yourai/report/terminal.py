"""What a sweep says on the console, as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_yourai.config import Objective
from pytest_yourai.memory.budget import Budget
from pytest_yourai.optimum import best
from pytest_yourai.results import Outcome, TrialResult
from pytest_yourai.units import gigabytes, machine_memory, seconds

RULE = "━" * 60


def header(
    *,
    title: str,
    weights: str,
    configurations: int,
    budget: Budget,
    system_memory_bytes: int,
    device: str,
    notes: Sequence[str],
) -> Iterator[str]:
    """What is about to be measured."""
    yield RULE
    yield "Empirical Optimization Results"
    yield RULE
    yield f"Testing {configurations} configurations for: {title} ({weights})"
    yield f"Device: {device}, system memory: {machine_memory(system_memory_bytes)}"
    yield f"Memory limit: {budget}"
    yield "Each trial compiles in its first steps: minutes on a cold machine, not counted"
    for note in notes:
        yield f"Note: {note}"
    yield ""


def trial_line(index: int, total: int, result: TrialResult) -> str:
    """One line for a trial that ended."""
    known = " (kept)" if result.kept else ""
    warnings = "".join(f"; {warning}" for warning in result.warnings)
    return f"[{index}/{total}] {result.config} ... {_verdict(result)}{warnings}{known}"


def _verdict(result: TrialResult) -> str:
    need = gigabytes(result.minimum_memory_bytes or 0)
    match result.outcome:
        case Outcome.OK:
            peak = gigabytes(result.peak_memory_bytes or 0)
            return f"✓ {peak} (needs {need}), {seconds(result.step_time_s or 0)}/step"
        case Outcome.OVER_BUDGET:
            return f"✗ over budget: needs {need}"
        case Outcome.SKIPPED:
            return f"- skipped: {result.reason}"
        case _:
            return f"✗ {result.outcome.replace('_', ' ')}: {result.reason}"


def summary(results: Sequence[TrialResult], objective: Objective, total: int) -> Iterator[str]:
    """The answer, from `results` of `total` configurations."""
    if len(results) < total:
        yield f"Incomplete: {len(results)} of {total} configurations are known"
    optimum = best(results, objective)
    if optimum is None:
        memory = any(result.outcome.is_memory_failure for result in results)
        yield "No configuration fits" if memory else "No configuration was measured to its end"
        if results:
            yield f"  Outcomes:      {_counts(results)}"
        return
    config = optimum.config
    score = f"{config.batch_size} × {config.rank} × {config.num_layers}"
    yield "Optimal Configuration Found"
    yield f"  Batch size:    {config.batch_size}"
    yield f"  LoRA rank:     {config.rank}"
    yield f"  LoRA layers:   {config.num_layers}"
    yield f"  Peak memory:   {gigabytes(optimum.peak_memory_bytes or 0)}"
    yield f"  Throughput:    {config.throughput_score:,} ({score})"
    yield f"  Speed:         {optimum.tokens_per_second or 0:,.0f} tokens/s"
    if len(results) > 1:
        yield f"  Outcomes:      {_counts(results)}"


def _counts(results: Sequence[TrialResult]) -> str:
    counts = Counter(result.outcome for result in results)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
