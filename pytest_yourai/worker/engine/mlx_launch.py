"""`mlx.launch`, run by bootstrap.py, so that nothing of the user's project hides a module of it."""

from __future__ import annotations

from select import select
from typing import Any

from mlx._distributed_utils import launch

_PAUSE_S = 0.1


def main() -> None:
    # It waits until a rank can take input, which a pipe always can (MLX 0.32.4): without a pause it
    # keeps a processor busy, and a step of two ranks took 1.9 times as long on two processors.
    if getattr(launch, "select", None) is select:
        launch.select = select_with_pause
    launch.main()


def select_with_pause(
    to_read: list[Any], to_write: list[Any], others: list[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """`select.select`; with `to_write` it waits for what can be read, for 0.1 s at most."""
    if not to_write or timeout == 0:
        return select(to_read, to_write, others, timeout)
    readable, _, failed = select(to_read, [], others, _PAUSE_S)
    _, writable, _ = select([], to_write, [], 0)
    return readable, writable, failed
