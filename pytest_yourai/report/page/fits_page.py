"""The page of what fits where: one small HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_yourai.core.sanitize import all_printable, clean
from pytest_yourai.core.units import gigabytes, plural
from pytest_yourai.machine.environment import versions
from pytest_yourai.report.fits_text import LEGEND, fit_lines, machine_lines, training_lines
from pytest_yourai.report.page.render import embedded, filled, packaged, policy, strict_script
from pytest_yourai.store.profile import created_at
from pytest_yourai.store.what_fits.machine import Machine
from pytest_yourai.store.what_fits.measured import Collection
from pytest_yourai.store.what_fits.table import Fit, FitsTable, Mark

_SCRIPTS = (
    *(f"scripts/{name}.js" for name in ("dom", "units", "theme", "sortable")),
    "fits_scripts/fits.js",
)

_STYLE = (
    ".fit { text-align: left; white-space: nowrap; padding: .2rem .4rem; } "
    ".fit.unknown { border: 1px dashed var(--grey); } "
    ".fit .line { display: block; } "
    "#fits tr > :first-child { position: sticky; left: 0; background: var(--panel); } "
    "#fits thead tr > :first-child { z-index: 2; }"
)


def fits_page(table: FitsTable, collection: Collection) -> str:
    """The text of the file."""
    script = strict_script("\n".join(map(packaged, _SCRIPTS)))
    parts = {
        "policy": policy(script),
        "style": f"{packaged('page.css')}{_STYLE}",
        "data": embedded(all_printable(clean(_data(table, len(collection.profiles))))),
        "script": script,
    }
    return filled("fits.html", parts)


def _data(table: FitsTable, profiles: int) -> dict[str, Any]:
    return {
        "made_by": f"pytest-yourai {versions().get('pytest-yourai', '')}".strip(),
        "made_at": created_at(),
        "legend": LEGEND,
        "profiles": profiles,
        "machines": [
            {"index": number, "memory_bytes": each.memory_bytes, **_names(each)}
            for number, each in enumerate(table.machines)
        ],
        "trainings": [
            {
                "index": number,
                **dict(zip(("model", "held", "recipe"), training_lines(each), strict=True)),
            }
            for number, each in enumerate(table.trainings)
        ],
        "cells": list(_cells(table)),
    }


def _names(machine: Machine) -> dict[str, str]:
    return dict(zip(("title", "memory", "software"), machine_lines(machine), strict=True))


def _cells(table: FitsTable) -> Iterator[dict[str, Any]]:
    machines = {each: number for number, each in enumerate(table.machines)}
    trainings = {each: number for number, each in enumerate(table.trainings)}
    for machine, training, fit in table.rows():
        yield {
            "machine": machines[machine],
            "training": trainings[training],
            "is_measured": fit.mark is Mark.MEASURED,
            "config": fit.config is not None,
            "needs": fit.needs_bytes,
            "speed": fit.tokens_per_second,
            "lines": list(fit_lines(fit)),
            "about": _about(machine, fit),
        }


def _about(machine: Machine, fit: Fit) -> str:
    """What a cell rests on."""
    runs = plural(fit.runs, "measurement")
    budget = "" if fit.limit_bytes is None else f", budget {gigabytes(fit.limit_bytes)}"
    elsewhere = "" if fit.measured_on == machine else f" on {fit.measured_on.title}"
    return f"{runs}{elsewhere}{budget}"
