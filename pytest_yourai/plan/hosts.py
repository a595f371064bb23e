"""The ranks that train together, as a number or mlx.launch's hostfile says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.files import parse_json
from pytest_yourai.core.hosts import DistributedBackend, Host, HostGroup
from pytest_yourai.core.opening import read_regular
from pytest_yourai.core.parsing import at_least
from pytest_yourai.core.paths import given_path
from pytest_yourai.machine.environment import installed_backend

_LEAST_RANKS = 2

_MOST_RANKS = 1024

_BACKENDS = ", ".join(DistributedBackend)

_RDMA_BACKENDS = (DistributedBackend.JACCL, DistributedBackend.JACCL_RING)


def parse_hosts(text: str, folder: Path) -> HostGroup:
    """As many ranks here as the number `text` says, or the hosts of the file that it names.

    ValueError, naming the entry, for a file that mlx.launch would not take.
    """
    if re.fullmatch(r"[+-]?\d+", text):
        return HostGroup.here(at_least(_LEAST_RANKS, _MOST_RANKS)(text))
    path = given_path(text, folder)
    try:
        document = parse_json(_utf8(read_regular(path)))
    except OSError as problem:
        raise ValueError(
            f"it cannot be read: {problem.strerror}; name mlx.launch's hostfile, or a number of "
            "ranks on this machine"
        ) from None
    except (json.JSONDecodeError, RecursionError, ValueError) as problem:
        raise ValueError(f"it is not JSON: {problem}; name mlx.launch's hostfile") from None
    return _group(document, path)


def _utf8(data: bytes) -> str:
    """`data` as mlx.launch reads it. ValueError for another encoding, and a byte order mark."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark, which mlx.launch does not take")
    return text


def _group(document: Any, path: Path) -> HostGroup:
    """The hosts of either form of hostfile: a list of hosts, or an object that has one."""
    backend = None
    entries = document
    if isinstance(document, dict):
        entries = document.get("hosts")
        backend = _backend(document.get("backend", ""))
        if not _is_texts(document.get("envs", [])):
            raise ValueError("envs: it must be a list of texts, such as NAME=VALUE")
    if not isinstance(entries, list):
        raise ValueError(  # noqa: TRY004 - as every mistake in a value
            'it is no hostfile of mlx.launch: it must be a list of {"ssh": …, "ips": […]}, or an '
            "object with such a list as hosts"
        )
    if len(entries) < _LEAST_RANKS:
        named = "one host" if entries else "no hosts"
        raise ValueError(f"it names {named}: add others, or leave the flag out to train on one")
    if len(entries) > _MOST_RANKS:
        raise ValueError(f"it names {len(entries):,} hosts: name at most {_MOST_RANKS:,}")
    hosts = tuple(_host(entry, f"entry {number}") for number, entry in enumerate(entries, 1))
    return HostGroup(hosts, backend, path)


def _backend(name: Any) -> DistributedBackend | None:
    if name == "":
        return None
    if name not in list(DistributedBackend):
        raise ValueError(f"backend: {name!r} must be one of {_BACKENDS}")
    return DistributedBackend(name)


def _host(entry: Any, where: str) -> Host:
    ssh = entry.get("ssh") if isinstance(entry, dict) else None
    if not isinstance(ssh, str) or not ssh:
        raise ValueError(f'{where}: it must be an object with a name for ssh: {{"ssh": "…"}}')
    # ssh would take it for one of its options, which can run commands.
    if ssh.startswith("-"):
        raise ValueError(f"{where}: ssh: {ssh!r} must not begin with -: name a host")
    ips, rdma = entry.get("ips", []), entry.get("rdma", [])
    if not _is_texts(ips):
        raise ValueError(f"{where} ({ssh}): ips: it must be a list of addresses")
    if not isinstance(rdma, list) or not all(
        each is None or isinstance(each, str) or _is_texts(each) for each in rdma
    ):
        raise ValueError(f"{where} ({ssh}): rdma: it must be a list of devices, null for its own")
    devices = (tuple(each) if isinstance(each, list) else each for each in rdma)
    return Host(ssh, tuple(ips), tuple(devices))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


def backend_here(group: HostGroup) -> DistributedBackend:
    """The backend that the ranks of `group` talk through, with the MLX that is installed here."""
    return group.chosen_backend(has_cuda=installed_backend() == "cuda")


def check_hosts(group: HostGroup, flag: str) -> None:
    """OptionError, which names `flag`, where mlx.launch would not start `group`."""
    backend = backend_here(group)
    named = f"{flag}: {group.hostfile}" if group.hostfile else flag
    if problem := _why_not(group, backend):
        raise OptionError(f"{named}: {problem}")


def _why_not(group: HostGroup, backend: DistributedBackend) -> str | None:
    """What `backend` lacks, and what to do; None if it can start."""
    if backend is DistributedBackend.MPI:
        if shutil.which("mpirun") is None:
            return "mpi needs mpirun, which is not on the PATH: install it, or name ring"
        return None
    if group.is_here:
        return _why_not_here(backend)
    needing = group.hosts if backend is DistributedBackend.RING else group.hosts[:1]
    for number, host in enumerate(needing, 1):
        if not host.ips:
            return (
                f"entry {number} ({host.ssh}) has no ips, which {backend} needs: add the address "
                "that the other hosts reach it by"
            )
    return _why_no_rdma(group.hosts, backend) if backend in _RDMA_BACKENDS else None


def _why_not_here(backend: DistributedBackend) -> str | None:
    if backend in _RDMA_BACKENDS:
        return f"{backend} needs a hostfile with rdma: name it instead of a number"
    if backend is DistributedBackend.NCCL and installed_backend() != "cuda":
        return "nccl needs MLX with CUDA, which is not installed here: name ring"
    return None


def _why_no_rdma(hosts: Sequence[Host], backend: DistributedBackend) -> str | None:
    """Which device is missing: towards every other host, or in a ring towards its neighbours."""
    count = len(hosts)
    for rank, host in enumerate(hosts):
        where = f"entry {rank + 1} ({host.ssh})"
        if len(host.rdma) != count:
            return (
                f"{where} has {len(host.rdma)} rdma devices, and {backend} needs {count}: name one "
                "towards each host, and null towards itself"
            )
        if host.rdma[rank] is not None:
            return f"{where}: rdma: the device towards itself, number {rank + 1}, must be null"
        others: Sequence[int] = range(count)
        if backend is DistributedBackend.JACCL_RING:
            others = ((rank - 1) % count, (rank + 1) % count)
        for other in others:
            if other != rank and host.rdma[other] is None:
                return f"{where}: rdma: it names no device towards {hosts[other].ssh}: add it"
    return None
