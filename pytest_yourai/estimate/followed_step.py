"""The estimate of a step that was traced: what its graph holds at the highest moment. Bytes.

Nothing of the minimum is fitted. On the CPU, where MLX frees nearly at once, it is the best that
there is; on a GPU, where many operations are in flight, it serves for models that no arithmetic on
config.json describes.
"""

from __future__ import annotations

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.models.step_profile import Holding, StepProfile

_RELATIVE_ERRORS: dict[Backend, float] = {"cpu": 0.03, "cuda": 0.1, "metal": 0.1}
"""One standard deviation: measured on Linux CPUs, assumed for GPUs."""

_MARGINS: dict[Backend, float] = {"cpu": 0.15, "cuda": 0.3, "metal": 0.3}
"""Shares of what a step holds beyond the weights."""


def estimate_of(profile: StepProfile, config: LoraConfig, backend: Backend) -> MemoryEstimate:
    """The estimate for `config`, whose steps have this profile."""
    held = profile.highest(config.batch_size, config.rank)
    minimum = sum(held.values())
    peak = profile.peak_bytes(config.batch_size, config.rank) or minimum
    margin = round(_MARGINS[backend] * (minimum - held[Holding.WEIGHTS]))
    is_full = config.fine_tune_type is FineTuneType.FULL
    return MemoryEstimate(
        weights_bytes=held[Holding.WEIGHTS],
        adapters_bytes=0 if is_full else held[Holding.ADAPTERS],
        gradients_bytes=held[Holding.GRADIENTS],
        optimizer_bytes=held[Holding.OPTIMIZER],
        activations_bytes=held[Holding.ACTIVATIONS],
        logits_bytes=held[Holding.LOGITS],
        overhead_bytes=0,
        margin_bytes=margin,
        relative_error=_RELATIVE_ERRORS[backend],
        ahead_bytes=max(peak - minimum, 0),
        ahead_margin_bytes=margin,
    )
