"""What a training step needs before it runs: arithmetic, corrected by what was measured."""

from pytest_yourai.estimate.training_memory import MemoryEstimate, estimate_training_memory

__all__ = ["MemoryEstimate", "estimate_training_memory"]
