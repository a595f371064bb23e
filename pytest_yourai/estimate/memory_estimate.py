"""What an estimate says of one step: its memory by component, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory of one training step at its highest moment, by component. Bytes.

    The components from `weights_bytes` to `overhead_bytes` add up to `minimum_bytes`.
    """

    weights_bytes: int
    """Weights of the base model, quantized or not."""
    adapters_bytes: int
    """LoRA matrices A and B and DoRA's magnitudes, float32; 0 for full fine-tuning."""
    gradients_bytes: int
    """Gradients that are alive at that moment, accumulated ones included."""
    optimizer_bytes: int
    """State that the optimizer keeps for what is trained."""
    activations_bytes: int
    """Arrays kept or recomputed for the backward pass."""
    logits_bytes: int
    """Scores over the vocabulary and their gradients."""
    overhead_bytes: int
    """Arrays in flight on the device, and the unused rest of allocated pages."""
    margin_bytes: int
    """Most that a measured minimum may be above the estimate."""
    relative_error: float
    """Typical error (one standard deviation) on models that were not fitted: 0.02 is 2 %."""
    ahead_bytes: int = 0
    """What MLX holds beyond the minimum where no limit makes it wait for the device."""
    ahead_margin_bytes: int = 0
    """Most that a measured peak may be above the estimate, beyond `margin_bytes`."""
    unlimited_bytes: int = 0
    """What the conservative estimate adds where mlx_lm.lora sets no limit: on Metal."""

    @property
    def minimum_bytes(self) -> int:
        """MLX peak of a training step under the lowest memory limit, in bytes."""
        return (
            self.weights_bytes
            + self.adapters_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.logits_bytes
            + self.overhead_bytes
        )

    @property
    def conservative_bytes(self) -> int:
        """Minimum plus margin, in bytes: no measured minimum was above it.

        On Metal it is the peak with its margins, since mlx_lm.lora sets no limit there.
        """
        return self.minimum_bytes + self.margin_bytes + self.unlimited_bytes

    @property
    def peak_bytes(self) -> int:
        """MLX peak of a training step that nothing limits, in bytes."""
        return self.minimum_bytes + self.ahead_bytes

    @property
    def conservative_peak_bytes(self) -> int:
        """Peak plus margins, in bytes."""
        return self.peak_bytes + self.margin_bytes + self.ahead_margin_bytes

    def peak_bytes_under(self, limit_bytes: int) -> int:
        """MLX peak of a training step under that memory limit, in bytes.

        MLX waits where it would pass the limit, but never takes less than the minimum.
        """
        return max(self.minimum_bytes, min(self.peak_bytes, limit_bytes))
