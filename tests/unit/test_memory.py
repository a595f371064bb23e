import os

import pytest

from pytest_yourai.engine.protocol import DeviceInfo
from pytest_yourai.errors import OptionError
from pytest_yourai.memory import (
    SystemMemory,
    detect_budget,
    process_footprint_bytes,
    read_system_memory,
)

GB = 1_000_000_000
CPU = DeviceInfo("cpu", "x", None, None, "0", "0")


def metal(working_set: float) -> DeviceInfo:
    return DeviceInfo("metal", "Apple M3 Max", int(working_set), None, "0", "0")


def cuda(total: float, free: float) -> DeviceInfo:
    return DeviceInfo("cuda", "NVIDIA H200", int(total), int(free), "0", "0")


@pytest.mark.parametrize(
    ("total", "available", "device", "limit", "reason"),
    [
        (36 * GB, 34 * GB, CPU, 28.8 * GB, "80 % of 36.0 GB"),
        (36 * GB, 34 * GB, metal(27 * GB), 21.6 * GB, "80 % of 27.0 GB"),
        (96 * GB, 90 * GB, metal(72 * GB), 57.6 * GB, "80 % of 72.0 GB"),
        (16 * GB, 9 * GB, CPU, 7 * GB, "9.0 GB available now, less 2.0 GB"),
        (135 * GB, 1 * GB, cuda(150 * GB, 149 * GB), 120 * GB, "80 % of 150.0 GB"),
        (135 * GB, 99 * GB, cuda(150 * GB, 20 * GB), 18 * GB, "20.0 GB available now, less 2.0 GB"),
    ],
)
def test_budget_is_the_share_of_the_smallest_total_or_what_is_left(
    total: int, available: int, device: DeviceInfo, limit: float, reason: str
) -> None:
    budget = detect_budget(SystemMemory(total, available, 0), device)
    assert budget.limit_bytes == limit
    assert budget.reason == reason


def test_a_full_machine_is_told_what_to_do() -> None:
    with pytest.raises(OptionError, match="close programs, or set --yourai-max-memory"):
        detect_budget(SystemMemory(16 * GB, 1 * GB, 0), CPU)


def test_this_machine_reports_sane_numbers() -> None:
    found = read_system_memory()
    assert 0 < found.available_bytes <= found.total_bytes


def test_the_footprint_is_resident_memory_on_the_cpu_alone() -> None:
    assert (process_footprint_bytes(os.getpid(), CPU) or 0) > 1_000_000
    assert process_footprint_bytes(os.getpid(), metal(27 * GB)) is None
    assert process_footprint_bytes(None, CPU) is None
    assert process_footprint_bytes(2**22 + 1, CPU) is None
