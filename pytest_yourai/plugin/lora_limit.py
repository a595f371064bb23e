"""The marker `lora_limit`: the most that the configuration of a user's own test may need."""

from __future__ import annotations

import pytest

from pytest_yourai.core.config import SAFETY_MARGIN
from pytest_yourai.core.parsing import memory_size
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.units import gigabytes
from pytest_yourai.report.nearest import fits_near
from pytest_yourai.sweep.model_sweep import Sweep

_MARKER = "lora_limit"


def limit_of(test: pytest.Item) -> int | None:
    """The limit of a test in bytes, None without one; the test fails for a mark without a size."""
    mark = test.get_closest_marker(_MARKER)
    if mark is None:
        return None
    limit_bytes = _size(mark)
    if limit_bytes is None:
        # Outside of any except: pytest would show its error, too.
        given = ", ".join([*map(repr, mark.args), *(f"{name}=…" for name in mark.kwargs)])
        pytest.fail(
            f"{_MARKER}({given}) of {test.name}: it takes one size, such as '20 GB' or '500 MB'",
            pytrace=False,
        )
    return limit_bytes


def _size(mark: pytest.Mark) -> int | None:
    """The size that the mark gives in bytes; None where it gives none."""
    if mark.kwargs or len(mark.args) != 1 or not isinstance(mark.args[0], str):
        return None
    try:
        return memory_size(mark.args[0])
    except ValueError:
        return None


def check_mark(metafunc: pytest.Metafunc) -> None:
    """Fail, before anything is measured, a test whose mark cannot be checked."""
    if limit_of(metafunc.definition) is not None and "trial" not in metafunc.fixturenames:
        pytest.fail(
            f"{_MARKER} of {metafunc.definition.name} is about the configuration of a test: take "
            "`trial` as an argument",
            pytrace=False,
        )


def check_limit(item: pytest.Item, result: TrialResult, sweep: Sweep | None) -> None:
    """Fail a test whose configuration needs more than its limit; one not measured passes here."""
    limit_bytes, needed_bytes = limit_of(item), result.minimum_memory_bytes
    if limit_bytes is None or needed_bytes is None or needed_bytes <= limit_bytes:
        return
    fits = _what_fits(result, limit_bytes, sweep) if sweep is not None else []
    instead = f"what would fit, by estimate: {'; '.join(fits)}" if fits else "nothing like it fits"
    pytest.fail(
        f"{result.model}, {result.config}: needs {gigabytes(needed_bytes)}, over the limit of "
        f"{gigabytes(limit_bytes)}; {instead}",
        pytrace=False,
    )


def _what_fits(result: TrialResult, limit_bytes: int, sweep: Sweep) -> list[str]:
    # A limit is for the minimum alone: the margin is for budgets.
    found = fits_near(result, sweep.plan, sweep.context, limit_bytes * SAFETY_MARGIN)
    return [f"{each.change} (needs {gigabytes(each.needs_bytes)})" for each in found or ()]
