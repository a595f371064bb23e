"""The engine that uses MLX, on the CPU whatever GPU there is; for YOURAI_TEST_ENGINE."""

from __future__ import annotations

from typing import Any


def cpu_engine() -> Any:
    import mlx.core as mx  # noqa: PLC0415 - in the worker alone

    from pytest_yourai.worker.engine.mlx_engine import MlxEngine  # noqa: PLC0415 - after MLX

    mx.set_default_device(mx.cpu)
    return MlxEngine()
