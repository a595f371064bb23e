"""Steps of training, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from pytest_yourai.worker.protocol import TrainedStep

GB = 1_000_000_000


def a_step(number: int, **others: Any) -> TrainedStep:
    """A step of 0.1 s with 200 tokens and a loss of 2, in 5 GB."""
    usual: dict[str, Any] = {
        "loss": 2.0,
        "learning_rate": 1e-5,
        "step_time_s": 0.1,
        "tokens": 200,
        "peak_memory_bytes": 15 * GB,
        "active_memory_bytes": 5 * GB,
        "cache_memory_bytes": GB // 5,
        "footprint_bytes": 17 * GB,
    }
    return TrainedStep(number, **(usual | others))
