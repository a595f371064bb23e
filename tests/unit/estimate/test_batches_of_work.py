"""Batches of work by MLX's own limits (mlx/backend/cuda/device.cpp, metal/device.cpp)."""

from __future__ import annotations

import pytest

from pytest_yourai.core.device import Backend
from pytest_yourai.estimate.batches_of_work import BatchesOfWork, batches_of

MIB = 1 << 20


@pytest.mark.parametrize(
    ("backend", "device", "operations", "elements"),
    [
        ("cuda", "", 100, 1000 * MIB),
        ("cuda", "NVIDIA H200", 100, 1000 * MIB),
        ("cuda", "NVIDIA A100-SXM4-80GB", 20, 400 * MIB),
        ("cuda", "NVIDIA L40S", 20, 100 * MIB),
        ("metal", "Apple M2", 40, 40 * MIB),
        ("metal", "Apple M3 Max", 50, 50 * MIB),
    ],
)
def test_a_device_has_batches_of_its_own(
    backend: Backend, device: str, operations: int, elements: int
) -> None:
    found = batches_of(backend, device)
    assert found is not None
    assert (found.operations, found.elements) == (operations, elements)


def test_a_batch_ends_with_its_operations_or_with_what_they_read() -> None:
    work = BatchesOfWork(batches_of("cuda", ""), element_bytes=2)
    assert work.made_bytes(1000.0, 50) == 2000
    assert work.made_bytes(1e12, 50) == 2 * 1000 * MIB
    assert not work.are_filled_by(2 * 1000 * MIB)
    assert work.are_filled_by(2 * 1000 * MIB + 2)
    assert work.room(250 * MIB, (None, 64)) == 0.75
    assert work.room(250 * MIB, (4, 64)) == 1 - 0.25 * (4 / 32 + 2 / 64)


def test_the_cpu_has_none() -> None:
    work = BatchesOfWork(batches_of("cpu", ""), element_bytes=4)
    assert not work.are_filled_by(1e15)
    assert work.made_bytes(1000.0, 50) == work.room(1.0, (None, 64)) == 0
    assert work.in_flight_bytes(1000.0, 1000.0, 1e9) == 0
