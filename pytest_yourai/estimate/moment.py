"""One moment of a training step: what is alive at it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """Memory of one moment of a step beyond weights, trained arrays and optimizer state. Bytes.

    `margin_bytes` is how far measured steps may be above the estimate.
    """

    activations_bytes: float
    logits_bytes: float
    gradients_bytes: float
    in_flight_bytes: float
    margin_bytes: float

    @property
    def sum_bytes(self) -> float:
        """Total of the moment, without the margin."""
        parts = self.activations_bytes + self.logits_bytes + self.gradients_bytes
        return parts + self.in_flight_bytes
