from __future__ import annotations

import pytest
from packaging.version import Version

from pytest_yourai.core.device import Backend
from pytest_yourai.core.mlx_versions import MEMORY_CHANGES, memory_notes


@pytest.mark.parametrize(
    ("versions", "backend", "told"),
    [
        ({"mlx": "0.32.4", "mlx-lm": "0.32.2"}, "metal", []),
        ({"mlx": "0.24.2"}, "metal", ["attention is fused", "the loss is not fused"]),
        ({"mlx": "0.24.2"}, "cuda", ["attention is not fused", "the loss is not fused"]),
        ({"mlx": "0.24.2"}, "cpu", []),
        ({"mlx": "0.25.0"}, "metal", ["the loss is not fused"]),
        ({"mlx-lm": "0.22.2"}, "metal", ["compiled", "float32", "q and v", "cache"]),
        ({"mlx-lm": "0.31.1"}, "cpu", []),
        ({"mlx": "0.32.5.dev20261101+abc"}, "metal", []),
        ({"mlx": "of my own"}, "metal", []),
        ({}, "metal", []),
    ],
)
def test_versions_that_take_other_memory_are_told(
    versions: dict[str, str], backend: Backend, told: list[str]
) -> None:
    found = list(memory_notes(versions, backend))
    assert len(found) == len(told)
    for line, words in zip(found, told, strict=True):
        assert words in line
        assert "; update it (pip install -U mlx" in line


def test_all_changes_came_before_the_versions_that_are_required() -> None:
    required = {"mlx": Version("0.32.4"), "mlx-lm": Version("0.32.2")}
    assert all(Version(each.since) <= required[each.package] for each in MEMORY_CHANGES)
