"""The estimate of a step that was traced: what its graph holds at the highest moment. Bytes.

Nothing of it is fitted. Only a step whose operations MLX runs one after another under the lowest
limit can be followed so: on a GPU many are in flight at once.
"""

from __future__ import annotations

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.training_memory import MemoryEstimate
from pytest_yourai.models.step_profile import Holding, StepProfile

FOLLOWED: tuple[Backend, ...] = ("cpu",)

_RELATIVE_ERROR = 0.01

_MARGIN = 0.05
"""Share of what a step holds beyond the weights."""


def estimate_of(profile: StepProfile, config: LoraConfig) -> MemoryEstimate:
    """The estimate for `config`, whose steps have this profile."""
    held = profile.highest(config.batch_size, config.rank)
    is_full = config.fine_tune_type is FineTuneType.FULL
    beyond = sum(held.values()) - held[Holding.WEIGHTS]
    return MemoryEstimate(
        weights_bytes=held[Holding.WEIGHTS],
        adapters_bytes=0 if is_full else held[Holding.ADAPTERS],
        gradients_bytes=held[Holding.GRADIENTS],
        optimizer_bytes=held[Holding.OPTIMIZER],
        activations_bytes=held[Holding.ACTIVATIONS],
        logits_bytes=held[Holding.LOGITS],
        overhead_bytes=0,
        margin_bytes=round(_MARGIN * beyond),
        relative_error=_RELATIVE_ERROR,
    )
