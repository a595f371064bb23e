"""Bytes of matrices as MLX holds them: quantized or not, and in whole pages on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.models.layer_shapes import LinearShape

AFFINE = "affine"
"""The usual mode of quantization, with a scale and a bias for each group."""

PAGE_BYTES = 16384
"""In which Metal's and CUDA's allocators give out memory (MLX 0.32.4)."""

_OWN_GROUP = 64
"""Group size of what mlx-lm quantizes with bits of its own."""


@dataclass(frozen=True, slots=True)
class WeightForm:
    """How matrices are held: quantized in `bits`, or not (None)."""

    bits: int | None
    group_size: int
    mode: str
    element_bytes: int
    page_bytes: int

    def held(self, linear: LinearShape) -> int:
        """Bytes of the arrays of a matrix."""
        # Where rows do not divide into groups it stays as it is (mlx_lm.utils.quantize_model).
        if self.bits is None or linear.inputs % self.group_size:
            return self.whole(linear)
        bits, group_size, mode = self.bits, self.group_size, self.mode
        if linear.own_bits:
            bits, group_size, mode = linear.own_bits, _OWN_GROUP, AFFINE
        groups = linear.parameters // group_size
        # Affine groups have a scale and a bias in the model's type, others a scale of one byte.
        scales = (groups * self.element_bytes,) * 2 if mode == AFFINE else (groups,)
        sizes = (linear.parameters * bits // 8, *scales)
        return sum(paged(size, self.page_bytes) for size in sizes)

    def whole(self, linear: LinearShape) -> int:
        """Bytes of a matrix in full precision."""
        return paged(linear.parameters * self.element_bytes, self.page_bytes)


def paged(size: int, page_bytes: int) -> int:
    """Bytes that an allocator of pages takes for `size` bytes: small arrays share a page."""
    return -(-size // page_bytes) * page_bytes if size > page_bytes else size
