"""Results of soaks, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import Outcome, SoakResult

GB = 1_000_000_000


def a_soak(config: LoraConfig, outcome: Outcome = Outcome.OK, **others: Any) -> SoakResult:
    """Ten minutes that showed nothing, unless `others` say so."""
    usual: dict[str, Any] = {
        "reason": None if outcome is Outcome.OK else "it was too much",
        "remedy": None,
        "warnings": (),
        "conclusive": True,
        "asked_s": 600.0,
        "duration_s": 601.0,
        "steps": 1234,
        "peak_memory_bytes": 20_900_000_000,
        "trial_peak_memory_bytes": 20_800_000_000,
        "footprint_bytes": 22 * GB,
        "active_growth_bytes_per_step": -1.0,
        "footprint_growth_bytes_per_step": 0.0,
        "slowdown": 1.004,
        "first_tenth_step_time_s": 0.5,
        "last_tenth_step_time_s": 0.502,
        "swap_growth_bytes": 0,
    }
    return SoakResult(config, outcome, **(usual | others))
