import pytest

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import OptionError, TooLittleMemoryError
from pytest_yourai.machine.budget import HostShare, choose_shared_budget
from pytest_yourai.machine.guard import Guard, MemoryTrace
from pytest_yourai.machine.system_memory import SystemMemory

BEFORE = SystemMemory(100, 80, 5)
CPU = DeviceInfo("cpu", "x", None, None, "0.32.4", "0.32.2")
CUDA = DeviceInfo("cuda", "H200", 140_000_000_000, 139_000_000_000, "0.32.4", "0.32.2")
GB = 1_000_000_000


def test_the_extremes_are_those_of_all_machines() -> None:
    guard = Guard(50, BEFORE, forced=False)
    guard.watch_elsewhere(has_own_memory=False)
    seen = MemoryTrace(
        SystemMemory(200, 90, 1_000),
        largest_footprint_bytes=30,
        least_available_bytes=7,
        largest_swap_used_bytes=1_020,
        largest_mlx_bytes=12,
        was_under_the_floor=True,
        oom_kills=1,
        largest_held_bytes=40,
        room_bytes=60,
    )
    guard.take_in(seen, ["low"], 3)
    guard.take_in(MemoryTrace(BEFORE), ["low"], 2)
    trace = guard.trace
    assert (trace.largest_footprint_bytes, trace.largest_held_bytes) == (30, 40)
    assert (trace.least_available_bytes, trace.room_bytes) == (7, 60)
    assert (trace.swap_growth_bytes, trace.oom_kills, trace.largest_mlx_bytes) == (20, 1, 12)
    assert trace.was_under_the_floor
    assert guard.warnings == ["low"]
    assert guard.pool_bytes is None


def test_on_cuda_the_pools_of_all_devices_count() -> None:
    guard = Guard(50, BEFORE, forced=False)
    guard.watch_elsewhere(has_own_memory=True)
    guard.take_in(MemoryTrace(BEFORE, largest_footprint_bytes=30), [], 3)
    assert guard.pool_bytes == 33


def test_ranks_of_one_host_share_its_memory() -> None:
    alone = choose_shared_budget(None, CPU, [HostShare("studio", 100 * GB, 99 * GB, 1)])
    shared = choose_shared_budget(None, CPU, [HostShare("studio", 100 * GB, 99 * GB, 2)] * 2)
    assert shared.limit_bytes * 2 == alone.limit_bytes
    assert "shared by 2 ranks" in str(shared)


def test_a_given_budget_is_there_for_each_rank_of_a_host() -> None:
    shares = [HostShare("studio", 100 * GB, 99 * GB, 2)] * 2
    assert choose_shared_budget(50 * GB, CPU, shares).limit_bytes == 50 * GB
    with pytest.raises(OptionError, match=r"60 GB is more than the 50\.000 GB of .*, shared by 2"):
        choose_shared_budget(60 * GB, CPU, shares)


def test_the_host_with_the_least_decides() -> None:
    hosts = [HostShare("studio", 100 * GB, 99 * GB, 1), HostShare("mini", 16 * GB, 15 * GB, 1)]
    assert choose_shared_budget(None, CPU, hosts).limit_bytes == round(0.8 * 16 * GB)
    with pytest.raises(OptionError, match=r"20 GB is more than the 16\.000 GB of mini: give less"):
        choose_shared_budget(20 * GB, CPU, hosts)
    assert choose_shared_budget(10 * GB, CPU, hosts).limit_bytes == 10 * GB
    assert choose_shared_budget(None, CPU, hosts).reason == "80 % of 16.0 GB, mini"
    full = HostShare("full", 16 * GB, 1 * GB, 1)
    with pytest.raises(TooLittleMemoryError, match=r"only 1\.0 GB .* available on full: close"):
        choose_shared_budget(None, CPU, [*hosts, full])
    with pytest.raises(TooLittleMemoryError, match=r"only 1\.0 GB of memory is available: close"):
        choose_shared_budget(None, CPU, [full])


def test_gpus_share_nothing() -> None:
    shares = [HostShare("studio", 100 * GB, 99 * GB, 2)] * 2
    assert choose_shared_budget(None, CUDA, shares).limit_bytes == 112 * GB
