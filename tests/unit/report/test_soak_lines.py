from __future__ import annotations

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.report.trial_lines import soak_line

from support.profiles import a_soak

CONFIG = LoraConfig(4, 128, 32, 512)


def test_a_soak_that_lasted() -> None:
    assert soak_line("Soak", str(CONFIG), a_soak(CONFIG)) == (
        "Soak: batch=4, rank=128, layers=32 ... ✓ 10 min, 1,234 steps, "
        "peak 20.9 GB (trial 20.8 GB), memory +0.0 MB a step, last tenth as fast as the first "
        "(1.00)"
    )


def test_a_soak_that_failed_gives_its_reason_and_warnings() -> None:
    soak = a_soak(CONFIG, Outcome.SAFETY_STOP, reason="the guard stopped it", warnings=("leaks",))
    line = soak_line("Soak of m", str(CONFIG), soak)
    assert line == (
        "Soak of m: batch=4, rank=128, layers=32 ... ✗ safety stop: the guard stopped it; leaks"
    )


@pytest.mark.parametrize(
    ("slowdown", "said"),
    [(1.31, "slower than the first (1.31)"), (0.8, "faster than the first (0.80)")],
)
def test_heat_is_shown(slowdown: float, said: str) -> None:
    line = soak_line("Soak", "x", a_soak(CONFIG, slowdown=slowdown))
    assert line.endswith(f"last tenth {said}")


def test_growth_outside_of_mlx_and_swap_are_shown_where_there_are_any() -> None:
    soak = a_soak(
        CONFIG,
        active_growth_bytes_per_step=2.5e6,
        footprint_growth_bytes_per_step=3.1e6,
        swap_growth_bytes=1_200_000_000,
        slowdown=None,
    )
    assert soak_line("Soak", "x", soak).endswith(
        "memory +2.5 MB a step, footprint +3.1 MB a step, swap +1.2 GB"
    )


def test_a_single_step_has_no_slopes() -> None:
    soak = a_soak(
        CONFIG,
        duration_s=3.2,
        steps=1,
        active_growth_bytes_per_step=None,
        footprint_growth_bytes_per_step=None,
        slowdown=None,
    )
    line = soak_line("Soak", "x", soak)
    assert line == "Soak: x ... ✓ 3 s, 1 step, peak 20.9 GB (trial 20.8 GB)"
