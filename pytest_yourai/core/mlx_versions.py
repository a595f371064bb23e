"""Versions of MLX and mlx-lm in which training takes other memory than in those that are measured.

Each change is over 5 % for common models. They were found in the histories of both repositories;
the comments name the change, by its pull request or its commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from pytest_yourai.core.device import Backend


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A change of `package` in the version `since`, and what older ones do on `backends`."""

    package: str
    since: str
    backends: tuple[Backend, ...]
    before: str


_GPUS: tuple[Backend, ...] = ("metal", "cuda")

_ALL: tuple[Backend, ...] = ("metal", "cuda", "cpu")

MEMORY_CHANGES = (
    # mlx pull request 2054, of 2025-04-08
    MemoryChange(
        "mlx",
        "0.25.0",
        ("metal",),
        "attention is fused in training, so long rows take less than predicted",
    ),
    # mlx pull request 2762, of 2025-11-19
    MemoryChange(
        "mlx",
        "0.30.0",
        ("cuda",),
        "attention is not fused in training, so long rows take more than predicted",
    ),
    # mx.fast.cross_entropy in mlx/nn/losses.py; 0.32.1 also shifts a copy (pull request 4188)
    MemoryChange(
        "mlx",
        "0.32.2",
        _GPUS,
        "the loss is not fused, so large vocabularies take more than predicted",
    ),
    # mlx-lm commit b92c8f3e, of 2025-03-25
    MemoryChange("mlx-lm", "0.22.3", _ALL, "steps are not compiled, and take more than predicted"),
    # mlx-lm pull request 63, of 2025-04-03
    MemoryChange("mlx-lm", "0.22.3", _ALL, "logits are float32, which takes more than predicted"),
    # mlx-lm pull request 515, of 2025-09-30
    MemoryChange(
        "mlx-lm", "0.28.2", _ALL, "mlx_lm.lora adapts q and v projections alone by default"
    ),
    # mlx-lm pull request 986, of 2026-03-13
    MemoryChange(
        "mlx-lm",
        "0.31.2",
        _GPUS,
        "the allocator's cache is not emptied after a step, so the footprint is above the peak",
    ),
)


def memory_notes(versions: Mapping[str, str], backend: Backend) -> Iterator[str]:
    """A line for each change that the installed `versions`, by package, are older than."""
    for package in ("mlx", "mlx-lm"):
        installed = _version(versions.get(package))
        if installed is None:
            continue
        for change in MEMORY_CHANGES:
            is_meant = change.package == package and backend in change.backends
            if is_meant and installed < Version(change.since):
                yield (
                    f"{package} {installed}: before {change.since} {change.before}; update it "
                    f"(pip install -U {package})"
                )


def _version(text: str | None) -> Version | None:
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None
