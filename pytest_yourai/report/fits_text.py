"""What fits where, as text: tables for a terminal and for GitHub, and rows for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytest_yourai.core.axes import NO_VALUE
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.sanitize import clean, screen_line, screen_text
from pytest_yourai.core.units import gigabytes, plural
from pytest_yourai.report import markdown_text
from pytest_yourai.report.export import as_csv, as_json
from pytest_yourai.report.markdown_text import escaped
from pytest_yourai.report.tables import text_table
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.what_fits.machine import Machine
from pytest_yourai.store.what_fits.measured import Training
from pytest_yourai.store.what_fits.table import Fit, FitsTable, Mark

LEGEND = (
    f"~ by minimum memory on another machine with the same backend and MLX; {NO_VALUE} nothing "
    "that was tried fits; without either: measured on this machine"
)

WIDTH = 120
"""Of a table that is not written to a terminal."""

_GAP = "  "


def machine_lines(machine: Machine) -> tuple[str, ...]:
    """The heading of a row."""
    return machine.title, machine.memory, machine.software


def training_lines(training: Training) -> tuple[str, ...]:
    """The heading of a column."""
    return (
        training.model,
        f"{training.quantization}, {training.max_seq_length:,} tokens",
        training.recipe_text,
    )


def config_text(config: LoraConfig) -> str:
    """`batch=4, rank=64, layers=16, checkpoint`."""
    return f"{config}, checkpoint" if config.grad_checkpoint else str(config)


def fit_lines(fit: Fit | None) -> tuple[str, ...]:
    """A cell: its configuration, what it needs, and its speed, as far as they are known."""
    if fit is None:
        return ()
    mark = "~ " if fit.mark in (Mark.CARRIED_OVER, Mark.WOULD_NOT_FIT) else ""
    if fit.config is None:
        return tuple(filter(None, (f"{mark}{NO_VALUE}", _least(fit), _within(fit))))
    needs = "" if fit.needs_bytes is None else f"needs {gigabytes(fit.needs_bytes)}"
    return tuple(filter(None, (f"{mark}{config_text(fit.config)}", needs, speed_text(fit))))


def _least(fit: Fit) -> str:
    if fit.needs_bytes is None:
        return ""
    return f"at least {gigabytes(fit.needs_bytes)}"


def _within(fit: Fit) -> str:
    return "" if fit.limit_bytes is None else f"in {gigabytes(fit.limit_bytes)}"


def speed_text(fit: Fit) -> str:
    """`4,274 tokens/s, 3 runs ± 1.0 %`; empty where it is not known."""
    if fit.tokens_per_second is None:
        return ""
    text = f"{fit.tokens_per_second:,.0f} tokens/s"
    if fit.spread is None:
        return text
    return f"{text}, {plural(fit.runs, 'run')} ± {fit.spread * 50:.1f} %"


def text_lines(table: FitsTable, width: int | None) -> Iterator[str]:
    """Tables side by side in so many characters as are there, one below the other."""
    heads = [machine_lines(each) for each in table.machines]
    for trainings in _blocks(table, (width or WIDTH) - _widest(heads)):
        rows = [("machine", "memory", "MLX"), *heads]
        columns = [
            [
                training_lines(each),
                *(fit_lines(table.cells.get((machine, each))) for machine in table.machines),
            ]
            for each in trainings
        ]
        grid: list[list[str]] = []
        for number, head in enumerate(rows):
            parts = [head, *(column[number] for column in columns)]
            height = max(map(len, parts))
            grid += [
                [part[line] if line < len(part) else "" for part in parts] for line in range(height)
            ]
            grid.append([""] * len(parts))
        yield from map(screen_line, text_table(grid, [False] * (len(columns) + 1), _GAP))
    yield LEGEND


def _widest(cells: Iterable[Sequence[str]]) -> int:
    return max((len(line) for cell in cells for line in cell), default=0)


def _blocks(table: FitsTable, room: int) -> Iterator[list[Training]]:
    """The trainings that stand side by side, at least one."""
    block: list[Training] = []
    used = 0
    for training in table.trainings:
        cells = (fit_lines(table.cells.get((machine, training))) for machine in table.machines)
        width = _widest([training_lines(training), *cells]) + len(_GAP)
        if block and used + width > room:
            yield block
            block, used = [], 0
        block.append(training)
        used += width
    if block:
        yield block


def markdown(table: FitsTable) -> str:
    """One table for GitHub, with three lines in each cell, and what its marks mean."""
    headings = ["machine", *(_cell(training_lines(each)) for each in table.trainings)]
    rows = (
        [
            _cell(machine_lines(machine)),
            *(_cell(fit_lines(table.cells.get((machine, each)))) for each in table.trainings),
        ]
        for machine in table.machines
    )
    lines = markdown_text.table(headings, rows, [False] * len(headings))
    return screen_text("\n".join([*lines, "", escaped(LEGEND), ""]))


def _cell(lines: Iterable[str]) -> str:
    return "<br>".join(map(escaped, lines))


def flat_rows(table: FitsTable) -> list[dict[str, Any]]:
    """A row for each cell, all with the same keys; bytes, and null for what is not known."""
    return [clean(_row(*each)) for each in table.rows()]


def _row(machine: Machine, training: Training, fit: Fit) -> dict[str, Any]:
    kind, optimizer, keys, dropout, accumulation = training.recipe
    values = configuration(fit.config) if fit.config else {}
    return {
        "machine": machine.title,
        "chip": machine.name,
        "gpu_cores": machine.gpu_cores,
        "memory_bytes": machine.memory_bytes,
        "backend": machine.backend,
        "mlx": machine.mlx,
        "world_size": machine.world_size,
        "distributed_backend": machine.distributed_backend,
        "model": training.model,
        "quantization": training.quantization,
        "max_seq_length": training.max_seq_length,
        "fine_tune_type": str(kind),
        "optimizer": str(optimizer),
        "lora_keys": keys,
        "dropout": dropout,
        "grad_accumulation_steps": accumulation,
        "data": training.data,
        "mark": fit.mark.value,
        "batch_size": values.get("batch_size"),
        "lora_rank": values.get("lora_rank"),
        "lora_layers": values.get("lora_layers"),
        "grad_checkpoint": values.get("grad_checkpoint"),
        "needs_bytes": fit.needs_bytes,
        "limit_bytes": fit.limit_bytes,
        "tokens_per_second": fit.tokens_per_second,
        "runs": fit.runs,
        "spread": fit.spread,
        "measured_on": fit.measured_on.title,
        "measured_on_memory_bytes": fit.measured_on.memory_bytes,
    }


def formatted(table: FitsTable, name: str, width: int | None = None) -> str:
    """The table in the format `name`."""
    if name == "table":
        return "".join(f"{line}\n" for line in text_lines(table, width))
    if name == "md":
        return markdown(table)
    return as_csv(flat_rows(table)) if name == "csv" else as_json(flat_rows(table))
