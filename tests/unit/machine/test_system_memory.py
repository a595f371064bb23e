from __future__ import annotations

from pathlib import Path

from pytest_yourai.machine.cgroup import MemoryCgroup
from pytest_yourai.machine.system_memory import read_system_memory


def test_this_machine_reports_sane_numbers() -> None:
    found = read_system_memory()
    assert 0 < found.available_bytes <= found.usable_bytes <= found.total_bytes
    assert found.swap_used_bytes >= 0


def test_a_container_lowers_what_is_usable_and_available(small_cgroup: Path) -> None:
    found = read_system_memory(MemoryCgroup((small_cgroup,)))
    assert found.container_limit_bytes is not None
    assert found.usable_bytes == found.container_limit_bytes < 101_000_000
    assert found.available_bytes <= found.usable_bytes
    assert found.total_bytes == read_system_memory().total_bytes
    assert found.oom_kills == 0
