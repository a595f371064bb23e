from __future__ import annotations

import dataclasses
import os
import time

import pytest

from pytest_yourai.core.device import MlxMemory
from pytest_yourai.core.errors import SafetyStopError
from pytest_yourai.machine import guard as guard_module
from pytest_yourai.machine.guard import (
    INTERVAL_S,
    Guard,
    MemoryTrace,
    floor_bytes,
    footprint_limit_bytes,
    too_little_left,
    too_much_held,
)
from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.machine.system_memory import SystemMemory, read_system_memory

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("total", "container", "floor"),
    [
        (8 * GB, None, 0.4 * GB),
        (16 * GB, None, 0.8 * GB),
        (40 * GB, None, 2 * GB),
        (512 * GB, None, 2 * GB),
        (512 * GB, 4 * GB, 0.2 * GB),
    ],
)
def test_the_floor_is_2_gb_or_5_percent(total: int, container: int | None, floor: float) -> None:
    def system(available: float) -> SystemMemory:
        return SystemMemory(total, round(available), 0, container)

    assert floor_bytes(system(total)) == floor
    assert too_little_left(system(floor)) is None
    assert "under the floor" in (too_little_left(system(floor - 1)) or "")


@pytest.mark.parametrize(
    ("budget", "limit"), [(28 * GB, 30.8 * GB), (2 * GB, 2.2 * GB), (GB // 1000, 0.201 * GB)]
)
def test_a_worker_may_hold_the_budget_and_10_percent(budget: int, limit: float) -> None:
    assert footprint_limit_bytes(budget) == limit
    assert too_much_held(round(limit), budget) is None
    assert "over the budget" in (too_much_held(round(limit) + 1, budget) or "")
    assert too_much_held(None, budget) is None


def watching(budget_bytes: int, base_bytes: int, *, forced: bool = False) -> Guard:
    guard = Guard(budget_bytes, read_system_memory(), forced=forced)
    guard.attach(os.getpid(), base_bytes, has_own_memory=False)
    return guard


def own_bytes() -> int:
    found = read_process_memory(os.getpid())
    assert found is not None
    return found.footprint_bytes


def test_growth_is_counted_from_the_base() -> None:
    guard = watching(GB, own_bytes())
    used = b"x" * 150_000_000
    guard.check()
    assert 140_000_000 < (guard.trace.largest_footprint_bytes or 0) < 200_000_000
    del used
    guard.check()
    assert (guard.trace.largest_footprint_bytes or 0) > 140_000_000, "the largest is kept"


def test_what_is_over_the_budget_is_stopped() -> None:
    guard = watching(10_000_000, own_bytes())
    guard.check()
    used = b"x" * 250_000_000
    with pytest.raises(SafetyStopError, match=r"the worker held \d+\.\d MB, over") as caught:
        guard.check()
    assert caught.value.is_its_own_fault
    del used


def test_with_force_it_warns_once() -> None:
    guard = watching(10_000_000, own_bytes(), forced=True)
    used = b"x" * 250_000_000
    guard.check()
    guard.check()
    assert len(guard.warnings) == 1
    assert "went on because of --yourai-force" in guard.warnings[0]
    del used


def test_too_little_available_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine's own memory cannot be used up in a test.
    guard = watching(10 * GB, own_bytes())
    low = SystemMemory(16 * GB, GB // 2, 0)
    monkeypatch.setattr(guard_module, "read_system_memory", lambda _: low)
    with pytest.raises(SafetyStopError, match=r"500\.0 MB of memory was available") as caught:
        guard.check()
    assert not caught.value.is_its_own_fault, "this process has not grown"
    assert guard.trace.was_under_the_floor
    assert guard.trace.least_available_bytes == GB // 2


def test_who_took_most_of_what_is_missing_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SystemMemory(16 * GB, GB, 0)
    guard = Guard(10 * GB, before, forced=False)
    guard.attach(os.getpid(), own_bytes(), has_own_memory=False)
    used = b"x" * 150_000_000
    for missing, is_its_own_fault in ((0.25, True), (0.5, False)):
        low = SystemMemory(16 * GB, round((1 - missing) * GB), 0)
        low = dataclasses.replace(low, total_bytes=64 * GB)
        monkeypatch.setattr(guard_module, "read_system_memory", lambda _, found=low: found)
        with pytest.raises(SafetyStopError) as caught:
            guard.check()
        assert caught.value.is_its_own_fault is is_its_own_fault
    del used


def test_on_cuda_it_is_the_device_that_counts() -> None:
    guard = Guard(10 * GB, read_system_memory(), forced=False)
    guard.attach(os.getpid(), 1 * GB, has_own_memory=True)
    guard.check()
    assert guard.trace.largest_footprint_bytes is None
    guard.note(MlxMemory(4 * GB, 9 * GB, 2 * GB, 11 * GB))
    guard.check()
    assert guard.trace.largest_footprint_bytes == 10 * GB
    assert guard.trace.largest_mlx_bytes == 9 * GB
    guard.note(MlxMemory(9 * GB, 9 * GB, 2 * GB, 13 * GB))
    with pytest.raises(SafetyStopError, match=r"the device held 12\.0 GB"):
        guard.check()


def test_swap_growth_is_the_most_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SystemMemory(16 * GB, 8 * GB, 3 * GB)
    guard = Guard(10 * GB, before, forced=False)
    for used in (4 * GB, 5 * GB, 2 * GB):
        system = SystemMemory(16 * GB, 8 * GB, used)
        monkeypatch.setattr(guard_module, "read_system_memory", lambda _, found=system: found)
        guard.read_system()
    assert guard.trace.swap_growth_bytes == 2 * GB


def test_it_is_due_again_after_the_interval() -> None:
    guard = watching(10 * GB, own_bytes())
    assert guard.due_in_s() == 0
    guard.check()
    assert 0 < guard.due_in_s() <= INTERVAL_S
    time.sleep(INTERVAL_S)
    assert guard.due_in_s() == 0


def test_a_worker_that_is_gone_does_no_harm() -> None:
    guard = Guard(10 * GB, read_system_memory(), forced=False)
    guard.check()
    guard.attach(2**22 + 1, 0, has_own_memory=False)
    guard.check()
    assert guard.trace.largest_footprint_bytes is None


MB = 1_000_000


@pytest.mark.parametrize(
    ("held", "room", "swapped", "can"),
    [
        pytest.param(200 * MB, 8 * GB, 300 * MB, False, id="a toy beside a browser"),
        pytest.param(200 * MB, 8 * GB, 60 * MB, False, id="as much as was swapped, of plenty"),
        pytest.param(9 * GB, 11 * GB, 3 * GB, True, id="most of a small machine"),
        pytest.param(9 * GB, 11 * GB, 30 * GB, False, id="much less than was swapped"),
        pytest.param(3 * GB, 11 * GB, 6 * GB, True, id="half of what was swapped"),
        pytest.param(None, 11 * GB, 6 * GB, True, id="nobody knows"),
        pytest.param(3 * GB, None, 6 * GB, True, id="nobody knows the room"),
    ],
)
def test_a_trial_that_held_little_has_not_caused_the_swapping(
    held: int | None, room: int | None, swapped: int, can: bool
) -> None:
    trace = MemoryTrace(SystemMemory(16 * GB, 8 * GB, GB), largest_swap_used_bytes=GB + swapped)
    trace.largest_held_bytes, trace.room_bytes = held, room
    assert trace.can_have_caused_swapping is can


def test_the_room_is_what_was_available_and_held_within_the_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = SystemMemory(16 * GB, 2 * GB, 0)
    monkeypatch.setattr(guard_module, "read_system_memory", lambda *_: found)
    guard = Guard(10 * GB, found, forced=False)
    guard.attach(os.getpid(), 0, has_own_memory=False)
    held = guard.trace.largest_held_bytes or 0
    assert held == pytest.approx(own_bytes(), rel=0.1)
    assert guard.trace.room_bytes == 2 * GB + held
    found = SystemMemory(16 * GB, GB, 0, container_limit_bytes=GB)
    guard.check()
    assert guard.trace.room_bytes == GB


def test_what_the_kernel_ended_on_another_machine_is_kept() -> None:
    guard = Guard(GB, forced=False)
    seen = MemoryTrace(read_system_memory(), oom_kills=1)
    guard.take_in(seen, [], 0)
    guard.read_system()
    assert guard.trace.oom_kills == 1
