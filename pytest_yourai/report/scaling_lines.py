"""Whether another machine is worth it, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.core.axes import NUM_LAYERS, RANK
from pytest_yourai.core.units import gigabytes, same_seconds
from pytest_yourai.plan.scaling import Limit, ScalingTable
from pytest_yourai.report.tables import NOTHING, text_table

_HEADER = ("machines", "batch", "each", "needs", "step", "gradients", "tokens/s", "efficiency")

_FITTED = "~"


def scaling_lines(name: str, table: ScalingTable) -> Iterator[str]:
    """The rows, and what they rest on."""
    found, first = table.rows, table.rows[0].config
    sizes = [f"{axis.label} {axis.text(first)}" for axis in (RANK, NUM_LAYERS)]
    yield f"{name} on several machines, {', '.join(sizes)}"
    steps = same_seconds(each.step_time_s for each in found)
    sums = same_seconds(each.sum_time_s for each in found if each.machines > 1)
    rows: list[tuple[str, ...]] = [(*_HEADER, "limited by")]
    for each in found:
        if each.limited_by is Limit.BATCH:
            cells = [NOTHING] * (len(_HEADER) - 2)
        else:
            mark = "" if each.is_measured or each.step_time_s is None else _FITTED
            cells = [
                str(each.config.batch_size // each.machines),
                NOTHING if each.needs_bytes is None else gigabytes(each.needs_bytes),
                NOTHING if each.step_time_s is None else mark + steps(each.step_time_s),
                NOTHING if each.machines == 1 else sums(each.sum_time_s),
                NOTHING if each.tokens_per_second is None else f"{each.tokens_per_second:,.0f}",
                NOTHING if each.efficiency is None else f"{each.efficiency:.0%}",
            ]
        limit = "" if each.limited_by is Limit.NOTHING else each.limited_by.value
        rows.append((str(each.machines), str(each.config.batch_size), *cells, limit))
    yield from text_table(rows, [*(True for _ in _HEADER), False])
    assumed = ", as usual: --yourai-link-gbit says otherwise" if table.is_assumed else ""
    yield f"gradients: time to sum them by {table.backend} at {table.gbit:g} Gbit/s{assumed}"
    if all(each.step_time_s is None for each in found):
        yield "For the times of steps add --yourai-profile=PROFILE, of a sweep on one machine"
        return
    if any(each.step_time_s and not each.is_measured for each in found):
        yield f"{_FITTED} fitted to other batches of the profile"
    yield "efficiency: 100% is twice as fast on twice the machines"
