"""Memory of a training step before it runs: arithmetic, corrected by measurements."""

from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.training_memory import estimate_training_memory

__all__ = ["MemoryEstimate", "estimate_training_memory"]
