"""cgroups as files in a folder, and the one that this process is in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_yourai.machine.cgroup import MemoryCgroup

V1_MOUNT = "35 25 0:30 {root} {at} rw,nosuid - cgroup cgroup rw,memory\n"
V2_MOUNT = "30 23 0:26 {root} {at} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER_MOUNT = "22 1 8:1 / / rw - ext4 /dev/vda rw\n"


def make_proc(tmp_path: Path, membership: str, mounts: str) -> Path:
    proc = tmp_path / "proc"
    for pid in (str(os.getpid()), "77"):
        (proc / pid).mkdir(parents=True, exist_ok=True)
    (proc / "77" / "cgroup").write_text(membership)
    (proc / "77" / "stat").write_text("77 (a (b) c) R 1 77 77 0 -1 4194304 100 0\n")
    (proc / str(os.getpid()) / "mountinfo").write_text(OTHER_MOUNT + mounts)
    return proc


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("memory_", "memory.", 1)).write_text(text)


@pytest.fixture
def v2(tmp_path: Path) -> MemoryCgroup:
    """A container of 8 GB in a slice of 6 GB, which a neighbour has filled up to 1 GB."""
    at = tmp_path / "cgroup"
    write(at, memory_stat="inactive_file 0\n")
    write(
        at / "slice",
        memory_max="6000000000\n",
        memory_current="5500000000\n",
        memory_stat="anon 5000000000\ninactive_file 300000000\nactive_file 200000000\n",
    )
    write(
        at / "slice" / "box",
        memory_max="8000000000\n",
        memory_current="1000000000\n",
        memory_stat="inactive_file 0\n",
        memory_events="low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
    )
    proc = make_proc(tmp_path, "0::/slice/box\n", V2_MOUNT.format(root="/", at=at))
    found = MemoryCgroup.of(77, proc)
    assert found is not None
    return found


def test_version_2_takes_the_lowest_of_all_levels(v2: MemoryCgroup) -> None:
    assert len(v2.folders) == 3
    assert v2.limit_bytes() == 6_000_000_000
    assert v2.available_bytes() == 1_000_000_000
    assert v2.oom_kills() == 2


def test_no_limit_is_none(v2: MemoryCgroup) -> None:
    for folder in v2.folders[:2]:
        (folder / "memory.max").write_text("max\n")
    assert v2.limit_bytes() is None
    assert v2.available_bytes() is None


def test_version_1_in_a_container_that_sees_its_own_root(tmp_path: Path) -> None:
    at = tmp_path / "memory"
    write(
        at,
        memory_limit_in_bytes="4000000000\n",
        memory_usage_in_bytes="1500000000\n",
        memory_stat="total_inactive_file 500000000\n",
        memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    membership = "5:cpu,cpuacct:/docker/0f1e\n4:memory:/docker/0f1e\n0::/\n"
    proc = make_proc(tmp_path, membership, V1_MOUNT.format(root="/docker/0f1e", at=at))
    found = MemoryCgroup.of(77, proc)
    assert found == MemoryCgroup((at,))
    assert found.limit_bytes() == 4_000_000_000
    assert found.available_bytes() == 3_000_000_000
    assert found.oom_kills() == 1
    (at / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert found.limit_bytes() is None


@pytest.mark.parametrize("path", ["/../elsewhere", "/gone", "/"])
def test_a_path_from_outside_means_the_mount(tmp_path: Path, path: str) -> None:
    at = tmp_path / "cgroup"
    write(at, memory_max="5000000000")
    proc = make_proc(tmp_path, f"0::{path}\n", V2_MOUNT.format(root="/", at=at))
    found = MemoryCgroup.of(77, proc)
    assert found is not None
    assert found.limit_bytes() == 5_000_000_000


@pytest.mark.parametrize("membership", ["", "garbage\n", "4:cpu:/\n", "0::\n"])
def test_no_cgroup_is_none(tmp_path: Path, membership: str) -> None:
    proc = make_proc(tmp_path, membership, "garbage - \n")
    assert MemoryCgroup.of(77, proc) is None
    assert MemoryCgroup.of(78, proc) is None


def test_files_with_nonsense_set_no_limit(tmp_path: Path) -> None:
    write(tmp_path, memory_max="lots", memory_current="", memory_events="oom_kill\n")
    found = MemoryCgroup((tmp_path,))
    assert (found.limit_bytes(), found.available_bytes(), found.oom_kills()) == (None, None, None)


def test_a_process_that_is_ending_has_none_any_more(tmp_path: Path) -> None:
    proc = make_proc(tmp_path, "4:memory:/\n", V1_MOUNT.format(root="/", at=tmp_path))
    assert MemoryCgroup.of(77, proc) is not None
    (proc / "77" / "stat").write_text("77 (a (b) c) R 1 77 77 0 -1 4194308 100 0\n")
    assert MemoryCgroup.of(77, proc) is None
