"""The one formatter of numbers with units. GB means 1e9 bytes, as in mlx-lm."""

from __future__ import annotations

_GB = 1e9
_MB = 1e6
_KB = 1e3
_GIB = 1 << 30


def gigabytes(count_bytes: float) -> str:
    """Memory of models: `12.4 GB`; small ones as `5.3 MB`."""
    if abs(count_bytes) >= _GB / 10:
        return f"{count_bytes / _GB:.1f} GB"
    if abs(count_bytes) >= _MB / 10:
        return f"{count_bytes / _MB:.1f} MB"
    return f"{count_bytes / _KB:.1f} kB"


def machine_memory(count_bytes: float) -> str:
    """A machine's size in both units: `38.7 GB (36 GiB)`."""
    return f"{count_bytes / _GB:.1f} GB ({count_bytes / _GIB:.0f} GiB)"


def seconds(value: float) -> str:
    """A step time: `1.2s`, `35ms`."""
    if value >= 1:
        return f"{value:.1f}s"
    if value >= 0.1:  # noqa: PLR2004 - two digits that matter either way
        return f"{value:.2f}s"
    return f"{value * 1e3:.1f}ms" if value < 0.01 else f"{value * 1e3:.0f}ms"  # noqa: PLR2004
