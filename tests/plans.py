"""Plans of sweeps, for tests of what is decided about them without a worker."""

from __future__ import annotations

from typing import Any

from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.sweep_plan import SweepPlan


def a_plan(model: str, configs: tuple[LoraConfig, ...], **others: Any) -> SweepPlan:
    """A sweep through `configs`, of a model of which nothing but the name is known."""
    usual: dict[str, Any] = {
        "source": ModelSource(model, {}, None, True, None, None),
        "configs": configs,
        "steps": StepPlan(),
        "isolation": "model",
        "data": None,
        "seed": 0,
        "memory_limit_bytes": None,
        "start_timeout_s": 60,
        "settings": {},
        "identity": {},
    }
    return SweepPlan(**(usual | others))
