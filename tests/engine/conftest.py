"""MLX's device in this process."""

from __future__ import annotations

import os

import mlx.core as mx


def pytest_configure() -> None:
    if os.environ.get("YOURAI_TEST_ON_CPU"):
        mx.set_default_device(mx.cpu)
