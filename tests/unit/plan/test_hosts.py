"""Ranks are a number, or a hostfile of mlx.launch in either form; mistakes name file and entry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.hosts import DistributedBackend, Host, HostGroup
from pytest_yourai.plan import hosts as hosts_module
from pytest_yourai.plan.hosts import check_hosts, parse_hosts
from pytest_yourai.plan.options import check_combinations, check_files
from pytest_yourai.plugin.read_options import read_options


def check(pytester: pytest.Pytester, *flags: str) -> None:
    options = read_options(pytester.parseconfig(*flags))
    check_combinations(options)
    check_files(options)


TWO = [{"ssh": "mac1", "ips": ["10.0.0.1"]}, {"ssh": "mac2", "ips": ["10.0.0.2", "10.0.1.2"]}]


def written(folder: Path, document: Any) -> Path:
    path = folder / "hosts.json"
    path.write_text(json.dumps(document))
    return path


def test_a_number_means_ranks_of_this_machine(tmp_path: Path) -> None:
    group = parse_hosts("3", tmp_path)
    assert group == HostGroup.here(3)
    assert (group.world_size, group.is_here) == (3, True)


@pytest.mark.parametrize("text", ["1", "0", "-2"])
def test_one_rank_is_not_several(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="it must be a whole number of at least 2"):
        parse_hosts(text, tmp_path)


def test_both_forms_of_a_hostfile(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    hosts = (Host("mac1", ("10.0.0.1",)), Host("mac2", ("10.0.0.2", "10.0.1.2")))
    assert parse_hosts("hosts.json", tmp_path) == HostGroup(hosts, None, path)
    written(tmp_path, {"backend": "mpi", "envs": ["A=1"], "hosts": TWO})
    assert parse_hosts("hosts.json", tmp_path) == HostGroup(hosts, DistributedBackend.MPI, path)
    written(tmp_path, {"backend": "", "hosts": TWO})
    assert parse_hosts("hosts.json", tmp_path) == HostGroup(hosts, None, path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("text", "it is no hostfile of mlx.launch: it must be a list"),
        ({"backend": "ring"}, "it is no hostfile of mlx.launch: it must be a list"),
        ([], "it names no hosts: add others"),
        (TWO * 513, "it names 1,026 hosts: name at most 1,024"),
        (TWO[:1], "it names one host: add others, or leave the flag out"),
        ({"backend": "gloo", "hosts": TWO}, "backend: 'gloo' must be one of ring, jaccl"),
        ({"envs": "A=1", "hosts": TWO}, "envs: it must be a list of texts"),
        ([TWO[0], "mac2"], "entry 2: it must be an object with a name for ssh"),
        ([{"ips": []}, TWO[1]], "entry 1: it must be an object with a name for ssh"),
        ([{"ssh": "-oProxyCommand=x"}, TWO[1]], "entry 1: ssh: '-oProxyCommand=x' must not begin"),
        ([TWO[0], {"ssh": "mac2", "ips": "10.0.0.2"}], r"entry 2 \(mac2\): ips: it must be a list"),
        ([{"ssh": "mac1", "rdma": [3]}, TWO[1]], r"entry 1 \(mac1\): rdma: it must be a list of"),
    ],
)
def test_a_file_that_is_no_hostfile(tmp_path: Path, document: Any, message: str) -> None:
    written(tmp_path, document)
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_hosts("hosts.json", tmp_path)


def test_a_file_that_cannot_be_read_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^it cannot be read: No such file.*; name mlx.launch's"):
        parse_hosts("hosts.json", tmp_path)
    (tmp_path / "hosts.json").write_bytes(b"\xef\xbb\xbf[]")
    with pytest.raises(ValueError, match=r"^it is not JSON: it begins with a byte order mark"):
        parse_hosts("hosts.json", tmp_path)
    (tmp_path / "hosts.json").write_text("[]", encoding="utf-16")
    with pytest.raises(ValueError, match=r"^it is not JSON: it is not UTF-8; name mlx"):
        parse_hosts("hosts.json", tmp_path)
    (tmp_path / "hosts.json").write_text("mac1 mac2")
    with pytest.raises(ValueError, match=r"^it is not JSON: .*; name mlx.launch's hostfile"):
        parse_hosts("hosts.json", tmp_path)


def with_rdma(*rows: list[str | None]) -> list[dict[str, Any]]:
    return [
        {"ssh": f"mac{number}", "ips": [f"10.0.0.{number}"], "rdma": row}
        for number, row in enumerate(rows, 1)
    ]


@pytest.mark.parametrize(
    ("backend", "document", "message"),
    [
        ("ring", [TWO[0], {"ssh": "mac2"}], r"entry 2 \(mac2\) has no ips, which ring needs: add"),
        ("nccl", [{"ssh": "mac1"}, TWO[1]], r"entry 1 \(mac1\) has no ips, which nccl needs: add"),
        ("jaccl", TWO, r"entry 1 \(mac1\) has 0 rdma devices, and jaccl needs 2: name one"),
        (
            "jaccl",
            with_rdma([None, "en2"], ["en2", "en3"]),
            r"entry 2 \(mac2\): rdma: the device towards itself, number 2, must be null",
        ),
        (
            "jaccl",
            with_rdma([None, "en2"], [None, None]),
            r"entry 2 \(mac2\): rdma: it names no device towards mac1: add it",
        ),
        (
            "jaccl-ring",
            with_rdma(
                [None, "a", None, "b"], ["a", None, None, None], [None] * 4, ["b", None, "c", None]
            ),
            r"entry 2 \(mac2\): rdma: it names no device towards mac3: add it",
        ),
    ],
)
def test_hosts_that_mlx_launch_would_refuse(
    tmp_path: Path, backend: str, document: Any, message: str
) -> None:
    path = written(tmp_path, {"backend": backend, "hosts": document})
    with pytest.raises(OptionError, match=f"^--hosts: {path}: {message}"):
        check_hosts(parse_hosts("hosts.json", tmp_path), "--hosts")


@pytest.mark.parametrize(
    ("backend", "document"),
    [
        ("ring", TWO),
        ("nccl", [TWO[0], {"ssh": "mac2"}]),
        ("jaccl", with_rdma([None, "en2"], ["en2", None])),
        ("jaccl-ring", with_rdma([None, "a", "b"], ["a", None, "c"], ["b", "c", None])),
    ],
)
def test_hosts_that_it_starts(tmp_path: Path, backend: str, document: Any) -> None:
    written(tmp_path, {"backend": backend, "hosts": document})
    check_hosts(parse_hosts("hosts.json", tmp_path), "--hosts")


def test_what_a_backend_lacks_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "installed_backend", lambda: "cpu")
    here = DistributedBackend
    check_hosts(HostGroup.here(2), "--hosts")
    with pytest.raises(OptionError, match=r"^--hosts: jaccl needs a hostfile with rdma: name it"):
        check_hosts(HostGroup.here(2, here.JACCL), "--hosts")
    with pytest.raises(OptionError, match=r"^--hosts: nccl needs MLX with CUDA, which is not"):
        check_hosts(HostGroup.here(2, here.NCCL), "--hosts")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OptionError, match=r"^--hosts: mpi needs mpirun, which is not on the PATH"):
        check_hosts(HostGroup.here(2, here.MPI), "--hosts")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/mpirun")
    check_hosts(HostGroup.here(2, here.MPI), "--hosts")
    monkeypatch.setattr(hosts_module, "installed_backend", lambda: "cuda")
    check_hosts(HostGroup.here(2), "--hosts")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--yourai-hosts=1",), "--yourai-hosts: '1' is not valid: it must be a whole number"),
        (
            ("--yourai-hosts=hosts.json",),
            r"--yourai-hosts: 'hosts.json' is not valid: entry 2: it must be an object with a name",
        ),
        (
            ("--yourai-hosts-backend=ring",),
            "--yourai-hosts-backend needs ranks: add --yourai",
        ),
        (("--yourai-hosts-backend=gloo",), "--yourai-hosts-backend: 'gloo' is not valid: it must"),
        (("--yourai-hosts=2", "--yourai-replay=p.json"), "--yourai-hosts: a replay launches noth"),
        (
            ("--yourai-hosts=2", "--yourai-hosts-backend=jaccl"),
            "--yourai-hosts: jaccl needs a ",
        ),
        (
            ("--yourai-hosts=good.json", "--yourai-output=good.json"),
            "--yourai-output: .*good.json is read for --yourai-hosts: name another file",
        ),
    ],
)
def test_flags_that_lead_to_no_ranks(
    pytester: pytest.Pytester, flags: tuple[str, ...], message: str
) -> None:
    (pytester.path / "hosts.json").write_text(json.dumps([TWO[0], "mac2"]))
    (pytester.path / "good.json").write_text(json.dumps(TWO))
    with pytest.raises(OptionError, match=f"^{message}"):
        check(pytester, *flags)


def test_an_ini_key_has_no_effect_on_a_replay(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nyourai_hosts = 2\nyourai_hosts_backend = jaccl\n")
    check(pytester, "--yourai-replay=p.json")
    with pytest.raises(OptionError, match="^--yourai-hosts: jaccl needs"):
        check(pytester, "--yourai-model=tiny")


def test_the_flag_wins_over_the_hostfile(pytester: pytest.Pytester) -> None:
    (pytester.path / "hosts.json").write_text(json.dumps({"backend": "mpi", "hosts": TWO}))
    flags = ("--yourai-hosts=hosts.json", "--yourai-hosts-backend=ring")
    hosts = read_options(pytester.parseconfig(*flags)).hosts
    assert hosts is not None
    assert hosts.backend is DistributedBackend.RING


def test_the_backend_that_mlx_launch_takes() -> None:
    assert HostGroup.here(2).chosen_backend(has_cuda=True) is DistributedBackend.NCCL
    assert HostGroup.here(2).chosen_backend(has_cuda=False) is DistributedBackend.RING
    ring = HostGroup.here(2, DistributedBackend.RING)
    assert ring.chosen_backend(has_cuda=True) is DistributedBackend.RING
