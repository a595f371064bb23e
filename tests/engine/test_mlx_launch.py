"""`mlx.launch` takes no processor for waiting."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest
from mlx._distributed_utils import launch

from pytest_yourai.worker.engine import mlx_launch


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Ends of two pipes: what is read of the first, and written to it; the same of the second."""
    ends = (*os.pipe(), *os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def test_a_pipe_that_takes_input_does_not_end_the_wait_for_output(
    pipes: tuple[int, int, int, int],
) -> None:
    output, rank, _, given = pipes
    start = time.monotonic()
    assert mlx_launch.select_with_pause([output], [given], [], 1.0) == ([], [given], [])
    assert time.monotonic() - start > 0.01
    os.write(rank, b"ready")
    assert mlx_launch.select_with_pause([output], [given], [], 1.0) == ([output], [given], [])
    assert mlx_launch.select_with_pause([output], [given], [], 0) == ([output], [given], [])
    assert mlx_launch.select_with_pause([output], [], [], 1.0) == ([output], [], [])


def test_mlx_launch_waits_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "select", select.select)
    monkeypatch.setattr(launch, "main", lambda: None)
    mlx_launch.main()
    assert launch.select is mlx_launch.select_with_pause
