"""How arrays lie in memory: strides, in elements, which decide what is a view and what a copy."""

from __future__ import annotations

Strides = tuple[int, ...]


def dense_strides(shape: tuple[int, ...]) -> Strides:
    """Strides of an array whose rows follow each other."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def is_dense(shape: tuple[int, ...], strides: Strides) -> bool:
    """True if rows follow each other without gaps."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 1:
            continue
        if stride != step:
            return False
        step *= size
    return True


def is_matrix(shape: tuple[int, ...], strides: Strides) -> bool:
    """True if the last two dimensions are a matrix or its transpose, as products take them."""
    if len(shape) < 2:  # noqa: PLR2004 - dimensions of a matrix
        return True
    rows, columns = shape[-2:]
    down, across = strides[-2:]
    is_plain = across == 1 and (down == columns or rows == 1)
    return is_plain or (down == 1 and (across == rows or columns == 1))


def reshaped_strides(
    shape: tuple[int, ...], strides: Strides, new: tuple[int, ...]
) -> Strides | None:
    """Strides of a reshaped view; None where the elements must be copied."""
    if is_dense(shape, strides):
        return dense_strides(new)
    runs: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    found: list[int] = []
    left, stride = 1, 1
    for size in new:
        if size == 1:
            found.append(found[-1] if found else 0)
            continue
        if left == 1:
            if not runs:
                return None
            left, stride = runs.pop(0)
        if left % size:
            return None
        left //= size
        found.append(stride * left)
    return tuple(found)


def broadcast_strides(shape: tuple[int, ...], strides: Strides, new: tuple[int, ...]) -> Strides:
    """Strides of a broadcast view: 0 where it repeats."""
    added = len(new) - len(shape)
    kept = (
        stride if size == wide else 0
        for size, stride, wide in zip(shape, strides, new[added:], strict=True)
    )
    return (0,) * added + tuple(kept)
