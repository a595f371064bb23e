"""The packaged test: one item for each configuration of a sweep, and for each model of a walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_yourai.trial_handle import Trial


def test_lora(trial: Trial, benchmark: Any) -> None:
    """The configuration trains within the budget, with the margin.

    The trial runs before this body; `benchmark` takes its step times.
    """
    assert benchmark is not None
    assert trial.success
    assert trial.safe_memory_gb <= trial.memory_limit_gb
