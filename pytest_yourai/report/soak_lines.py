"""What soaks say on the console, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_yourai.soak_result import SoakResult
from pytest_yourai.units import duration, gigabytes

_BYTES_PER_MB = 1e6
_LEAST_SWAP_GROWTH_BYTES = 1_000_000
_AS_FAST = 0.05
"""Step times vary by so much anyway."""


def begin_line(title: str, name: str, asked_s: float) -> str:
    """A soak has begun, which takes a while."""
    return f"{title}: {name} for {duration(asked_s)}"


def soak_line(title: str, name: str, soak: SoakResult) -> str:
    """One line for a soak that ended."""
    if soak.success:
        verdict = f"✓ {', '.join(_measured(soak))}"
    else:
        verdict = f"✗ {soak.outcome.replace('_', ' ')}: {soak.reason}"
    return f"{title}: {name} ... {verdict}" + "".join(f"; {each}" for each in soak.warnings)


def _measured(soak: SoakResult) -> Iterator[str]:
    yield duration(soak.duration_s)
    yield f"{soak.steps:,} step{'s' * (soak.steps != 1)}"
    peak, promised = soak.peak_memory_bytes or 0, soak.trial_peak_memory_bytes or 0
    yield f"peak {gigabytes(peak)} (trial {gigabytes(promised)})"
    if soak.active_growth_bytes_per_step is not None:
        yield f"memory {_growth(soak.active_growth_bytes_per_step)} MB a step"
    footprint = _growth(soak.footprint_growth_bytes_per_step or 0)
    if float(footprint):
        yield f"footprint {footprint} MB a step"
    if soak.swap_growth_bytes >= _LEAST_SWAP_GROWTH_BYTES:
        yield f"swap +{gigabytes(soak.swap_growth_bytes)}"
    if soak.slowdown is not None:
        yield f"last tenth {_compared(soak.slowdown)} the first ({soak.slowdown:.2f})"


def _growth(bytes_per_step: float) -> str:
    # Adding 0 takes the sign from a zero.
    return f"{round(bytes_per_step / _BYTES_PER_MB, 1) + 0.0:+.1f}"


def _compared(slowdown: float) -> str:
    if abs(slowdown - 1) <= _AS_FAST:
        return "as fast as"
    return "slower than" if slowdown > 1 else "faster than"
