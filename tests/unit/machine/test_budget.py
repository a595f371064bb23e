from __future__ import annotations

import pytest

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import OptionError
from pytest_yourai.machine import budget as budget_module
from pytest_yourai.machine.budget import detect_budget, given_budget
from pytest_yourai.machine.system_memory import SystemMemory

GB = 1_000_000_000
GIB = 1 << 30
CPU = DeviceInfo("cpu", "x", None, None, "0", "0")


def metal(working_set: float) -> DeviceInfo:
    return DeviceInfo("metal", "Apple M3 Max", int(working_set), None, "0", "0")


def cuda(total: float, free: float) -> DeviceInfo:
    return DeviceInfo("cuda", "NVIDIA H200", int(total), int(free), "0", "0")


@pytest.mark.parametrize(
    ("total", "available", "device", "limit", "reason"),
    [
        (36 * GB, 34 * GB, CPU, 28.8 * GB, "80 % of 36.0 GB"),
        (36 * GB, 34 * GB, metal(27 * GB), 21.6 * GB, "80 % of 27.0 GB, the recommended working set"),  # noqa: E501 - a row
        (16 * GB, 9 * GB, CPU, 7 * GB, "9.0 GB available now, less 2.0 GB"),
        (135 * GB, 1 * GB, cuda(150 * GB, 149 * GB), 120 * GB, "80 % of 150.0 GB, the device"),
        (135 * GB, 99 * GB, cuda(150 * GB, 20 * GB), 18 * GB, "20.0 GB available now, less 2.0 GB"),
    ],
)  # fmt: skip
def test_the_reason_says_which_number_decided(
    total: int, available: int, device: DeviceInfo, limit: float, reason: str
) -> None:
    budget = detect_budget(SystemMemory(total, available, 0), device)
    assert budget.limit_bytes == limit
    assert budget.reason == reason
    assert str(budget) == f"{limit / GB:.1f} GB ({reason})"


# Macs as they are sold: GiB, and the share that Metal recommends as the working set.
MACS = {8: 2 / 3, 16: 0.74, 18: 0.74, 24: 0.74, 32: 0.78, 36: 0.78, 48: 0.78, 64: 0.81, 96: 0.84}
MACS |= dict.fromkeys((128, 192, 256, 512), 0.84)


@pytest.mark.parametrize("size", MACS)
@pytest.mark.parametrize("busy", [False, True])
def test_macs_from_8_to_512_gb_idle_and_busy(size: int, busy: bool) -> None:
    total = size * GIB
    working_set = total * MACS[size]
    available = round(total * (0.35 if busy else 0.75))
    budget = detect_budget(SystemMemory(total, available, 0), metal(working_set))
    left = available - 2 * GB
    assert budget.limit_bytes == pytest.approx(min(0.8 * working_set, left), abs=1)
    assert ("available now" in budget.reason) is (left < 0.8 * working_set)


@pytest.mark.parametrize("size", MACS)
def test_without_mlx_the_working_set_of_a_mac_is_assumed(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    total = size * GIB
    working_set = total * MACS[size]
    budget = detect_budget(SystemMemory(total, total, 0), None)
    assert budget.limit_bytes == pytest.approx(0.8 * working_set, abs=1)
    assert budget.reason.endswith("the working set assumed for this Mac")


@pytest.mark.parametrize(
    ("device", "limit"), [(None, 0.8 * (26 << 30)), (metal(26 << 30), 0.8 * (26 << 30))]
)
def test_a_wired_limit_that_was_set_by_hand_is_the_total(
    device: DeviceInfo | None, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Metal recommends as much as the limit allows.
    monkeypatch.setattr(budget_module, "wired_limit_bytes", lambda: 26 << 30)
    budget = detect_budget(SystemMemory(32 * GIB, 31 * GIB, 0), device)
    assert budget.limit_bytes == round(limit)
    assert budget.reason == "80 % of 27.9 GB, the working set that iogpu.wired_limit_mb allows"


def test_without_mlx_elsewhere_all_of_the_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    system = SystemMemory(64 * GB, 60 * GB, 0)
    assert detect_budget(system, None) == detect_budget(system, CPU)
    busy = SystemMemory(64 * GB, 9 * GB, 0)
    assert detect_budget(busy, None).limit_bytes == 7 * GB


def test_an_idle_machine_of_96_gb_gets_more_than_7() -> None:
    budget = detect_budget(SystemMemory(96 * GIB, 80 * GIB, 0), metal(72 * GIB))
    assert budget.limit_bytes == pytest.approx(61.8 * GB, rel=0.01)


@pytest.mark.parametrize("limit_gb", [4, 8, 16])
def test_a_container_counts_where_it_is_smaller(limit_gb: int) -> None:
    system = SystemMemory(64 * GB, limit_gb * GB - GB // 10, 0, container_limit_bytes=limit_gb * GB)
    budget = detect_budget(system, CPU)
    assert budget.limit_bytes <= 0.8 * limit_gb * GB
    share_decides = 0.8 * limit_gb <= limit_gb - 2.1
    assert ("the container" in budget.reason) is share_decides


def test_on_a_full_machine_the_error_names_what_to_do() -> None:
    with pytest.raises(OptionError, match="close programs, or set --yourai-max-memory"):
        detect_budget(SystemMemory(16 * GB, 1 * GB, 0), CPU)


@pytest.mark.parametrize(
    ("system", "device", "most", "what"),
    [
        (SystemMemory(36 * GB, 30 * GB, 0), CPU, 36 * GB, "this machine"),
        (SystemMemory(36 * GB, 30 * GB, 0), metal(27 * GB), 36 * GB, "this machine"),
        (SystemMemory(36 * GB, 7 * GB, 0, 8 * GB), CPU, 8 * GB, "the container"),
        (SystemMemory(36 * GB, 30 * GB, 0), cuda(150 * GB, 149 * GB), 150 * GB, "the device"),
    ],
)
def test_more_than_there_is_is_refused(
    system: SystemMemory, device: DeviceInfo, most: int, what: str
) -> None:
    assert str(given_budget(most, system, device)).endswith("(as given)")
    with pytest.raises(
        OptionError, match=rf"--yourai-max-memory: .* more than the .* GB of {what}"
    ):
        given_budget(most + 1, system, device)
