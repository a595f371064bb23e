"""The table of the configurations that fit, best first, as wide and as long as there is room."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.config import LoraConfig, Objective
from pytest_yourai.naming import Naming, on_or_off
from pytest_yourai.optimum import best_first, fastest_batches, pareto
from pytest_yourai.report.room import Room
from pytest_yourai.report.text_table import text_table
from pytest_yourai.results import TrialResult
from pytest_yourai.units import gigabytes, seconds

_LEAST_TO_CHOOSE_FROM = 2


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[TrialResult], str]


def configuration_lines(
    results: Sequence[TrialResult], objective: Objective, naming: Naming, room: Room, others: int
) -> Iterator[str]:
    """Nothing where there is no choice. `others` lines are to be seen beside the table.

    Where it is cut those that are marked stay, and of the rest the best.
    """
    ranked = best_first(results, objective)
    if len(ranked) < _LEAST_TO_CHOOSE_FROM:
        return
    marks = _marks(ranked)
    legend = _legend(naming)
    kept = _kept(ranked, marks, room.rows_beside(others + len(legend) + 3))
    yield "Configurations that fit, best first"
    columns = [
        _Column("", lambda result: marks.get(result.config, "")),
        _Column("batch", lambda result: str(result.config.batch_size)),
        _Column("rank", lambda result: str(result.config.rank)),
        _Column("layers", lambda result: str(result.config.num_layers)),
        *_further_axes(naming),
        _Column("tokens/s", lambda result: f"{result.tokens_per_second or 0:,.0f}"),
        _Column("needs", lambda result: gigabytes(result.minimum_memory_bytes or 0)),
        _Column("takes", lambda result: gigabytes(result.peak_memory_bytes or 0)),
        _Column("a step", lambda result: seconds(result.step_time_s or 0)),
    ]
    yield from _fitting(columns, kept, room.columns)
    if more := len(ranked) - len(kept):
        yield f"  {more} more: -v shows them"
    yield from legend


def _further_axes(naming: Naming) -> Iterator[_Column]:
    if naming.has_lengths:
        yield _Column("seq", lambda result: str(result.config.max_seq_length))
    if naming.has_checkpointing:
        yield _Column("ckpt", lambda result: on_or_off(result.config.grad_checkpoint))


def _marks(results: Sequence[TrialResult]) -> dict[LoraConfig, str]:
    unbeaten = {result.config for result in pareto(results)}
    fastest = {result.config for result in fastest_batches(results)}
    return {
        config: ("*" if config in unbeaten else " ") + (">" if config in fastest else " ")
        for config in unbeaten | fastest
    }


def _legend(naming: Naming) -> list[str]:
    qualities = "capacity, length, speed" if naming.has_lengths else "capacity, speed"
    axes = "rank × layers" + " × sequence" * naming.has_lengths
    axes += " × checkpointing" * naming.has_checkpointing
    return [f"* unbeaten in {qualities} and memory", f"> the fastest batch size of its {axes}"]


def _kept(
    ranked: Sequence[TrialResult], marks: Container[LoraConfig], most: int | None
) -> Sequence[TrialResult]:
    if most is None or len(ranked) <= most:
        return ranked
    marked_first = sorted(ranked[1:], key=lambda result: result.config not in marks)
    chosen = {ranked[0].config, *(result.config for result in marked_first[: most - 1])}
    return [result for result in ranked if result.config in chosen]


def _fitting(
    columns: Sequence[_Column], results: Sequence[TrialResult], width: int | None
) -> list[str]:
    """The table with as many of its columns, from the left, as there is room for."""
    for count in range(len(columns), 1, -1):
        for gap in ("  ", " "):
            lines = _table(columns[:count], results, gap)
            if width is None or max(map(len, lines)) <= width:
                return lines
    return lines


def _table(columns: Sequence[_Column], results: Sequence[TrialResult], gap: str) -> list[str]:
    rows = [
        [column.name for column in columns],
        *([column.cell(result) for column in columns] for result in results),
    ]
    return [f"{gap}{line}" for line in text_table(rows, [True] * len(columns), gap)]
