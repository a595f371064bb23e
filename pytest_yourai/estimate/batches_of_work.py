"""MLX's batches of work on a device: what one holds until its end, and what fills one alone.

MLX gives work to a GPU in batches that end with a number of operations, or of elements that they
read, and frees nothing of a batch before its end. Under the lowest memory limit it waits then.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.coefficients import (
    AMPERE,
    HOPPER,
    HOPPER_NAMES,
    LARGE_METAL,
    LARGE_METAL_NAMES,
    METAL,
    OTHER_CUDA,
    Batches,
)

_FLOAT32_BYTES = 4


def batches_of(backend: Backend, device: str) -> Batches | None:
    """The batches of a device, by its name; None for the CPU."""
    if backend == "cpu":
        return None
    if backend == "metal":
        is_large = any(name in device for name in LARGE_METAL_NAMES)
        return LARGE_METAL if is_large else METAL
    if "A100" in device:
        return AMPERE
    known = not device or any(name in device for name in HOPPER_NAMES)
    return HOPPER if known else OTHER_CUDA


@dataclass(frozen=True, slots=True)
class BatchesOfWork:
    """Batches of a model whose own type has elements of `element_bytes`."""

    batches: Batches | None
    element_bytes: int

    def in_flight_bytes(self, own: float, wide: float, most_elements: float) -> float:
        """Bytes of arrays in the model's own type and in float32, as far as a batch holds them."""
        own, wide = self._operations_share * own, self._operations_share * wide
        elements = own / self.element_bytes + wide / _FLOAT32_BYTES
        return (own + wide) * min(1.0, most_elements / elements) if elements else 0.0

    def room(self, head_elements: float, quantization: tuple[int | None, int]) -> float:
        """Share of a Hopper's full batch that the weights of the head leave for other arrays."""
        if self.batches is None:
            return 0.0
        bits, group_size = quantization
        read = 1.0 if bits is None else bits / 32 + 2 / group_size
        left = max(0.0, 1 - read * head_elements / self.batches.elements)
        return left * self.batches.elements / HOPPER.elements

    def are_filled_by(self, read_bytes: float) -> bool:
        """True if operations that read so much, in the model's own type, are more than a batch."""
        return self.batches is not None and read_bytes / self.element_bytes > self.batches.elements

    def made_bytes(self, each: float, operations: int) -> float:
        """What one batch makes, of layers of which `each` makes so much in so many operations."""
        if self.batches is None:
            return 0.0
        most = self.batches.elements * self.element_bytes
        return min(each * self.batches.operations / operations, most)

    @property
    def _operations_share(self) -> float:
        """Operations of a batch relative to a Hopper's: the share of its arrays in flight."""
        return self.batches.operations / HOPPER.operations if self.batches else 0.0
