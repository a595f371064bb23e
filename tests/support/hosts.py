"""Hosts with an sshd each, and the desk they hang on: namespaces of this machine, for root.

A host has a network, a name, processes and a /run of its own, and shares all files. Its first
process reads a pipe of the one that made it, and takes the whole host away when that ends, however
it does. The desk is a host too, without an sshd: on its bridge are the links of the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import string
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

_TOOLS = ("unshare", "nsenter", "ip", "tc", "ssh", "ssh-keygen", "sshd")

_NETWORK = "10.77.0"

_DESK = "desk"

_SOON_S = 10.0

_NONE: Mapping[str, str] = {}

_FIRST_PROCESS = """
set -e
hostname "$1"
# A bound file is this host's alone.
mount --bind "$2/hosts" /etc/hosts
mount -t tmpfs none /run
mkdir -p /run/sshd
ip link set lo up
echo ready
read -r _
"""

_SSHD = """
ListenAddress {address}
HostKey {folder}/{name}
AuthorizedKeysFile {folder}/{name}.keys
PermitUserEnvironment yes
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""

_SSH = """
IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 5
"""


@dataclass(frozen=True)
class Host:
    """A name, an address, and the process that all others of it end with."""

    name: str
    address: str
    first_pid: int

    def command(self, *command: str | Path, folder: Path | None = None) -> list[str]:
        """What runs `command` there, in `folder`."""
        # A folder cannot be carried into another namespace of mounts.
        change = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder or Path.cwd())]
        return [*_enter(self.first_pid), *change, *map(str, command)]

    def processes(self) -> list[psutil.Process]:
        """All that live there, but for the first and those of sshd."""
        mine = _namespace(self.first_pid)
        return [
            process
            for process in psutil.process_iter()
            if process.pid != self.first_pid
            and _namespace(process.pid) == mine
            and _is_started(process)
        ]


@dataclass(frozen=True)
class Hosts:
    """`environment` lets a process find them by `ssh NAME`."""

    desk: Host
    hosts: tuple[Host, ...]
    environment: Mapping[str, str]
    hostfile: Path
    variables: Mapping[str, str]

    def give(self, host: Host, **variables: str) -> None:
        """Let later logins there have these, beside those that all hosts have."""
        _write_keys(self.hostfile.parent, host.name, {**self.variables, **variables})

    def stop_sshd(self, host: Host) -> None:
        """Let nobody log in there any more; who is there stays."""
        for child in filter(_listens, psutil.Process(host.first_pid).children()):
            child.kill()
            child.wait()

    def start_sshd(self, host: Host) -> None:
        _start_sshd(self.hostfile.parent, host)

    def slow_down(self, rate: str = "1gbit") -> None:
        """Let all links carry no more than `rate`, in each direction."""
        limit = ("root", "tbf", "rate", rate, "burst", "128kb", "latency", "50ms")
        for host in self.hosts:
            _run(self.desk, "tc", "qdisc", "replace", "dev", host.name, *limit)
            _run(host, "tc", "qdisc", "replace", "dev", "eth0", *limit)

    def speed_up(self) -> None:
        """Take away what `slow_down` made."""
        for host in self.hosts:
            _run(self.desk, "tc", "qdisc", "delete", "dev", host.name, "root")
            _run(host, "tc", "qdisc", "delete", "dev", "eth0", "root")

    def cut(self, host: Host) -> None:
        """Unplug it: what is sent is lost, and nobody is informed."""
        _run(self.desk, "ip", "link", "set", host.name, "down")

    def join(self, host: Host) -> None:
        """Plug it in again."""
        _run(self.desk, "ip", "link", "set", host.name, "up")

    def processes(self) -> list[psutil.Process]:
        """All that live on the hosts, without the desk."""
        return [process for host in self.hosts for process in host.processes()]


@contextlib.contextmanager
def made_hosts(
    folder: Path, variables: Mapping[str, str] = _NONE, *, count: int = 2
) -> Iterator[Hosts]:
    """`host-a`, `host-b` and so on until the context ends; skips the test where none can be made.

    Keys and settings go to `folder`. Processes that ssh starts there have `variables`.
    """
    if (lacking := _lacking()) is not None:
        pytest.skip(lacking)
    names = (_DESK, *(f"host-{letter}" for letter in string.ascii_lowercase[:count]))
    addresses = [f"{_NETWORK}.{number}" for number in range(1, len(names) + 1)]
    _write_settings(folder, names, addresses)
    with contextlib.ExitStack() as stack:
        desk, *others = [
            stack.enter_context(_host(folder, name, address))
            for name, address in zip(names, addresses, strict=True)
        ]
        _connect(desk, others)
        for host in others:
            _write_keys(folder, host.name, variables)
            _start_sshd(folder, host)
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        yield Hosts(desk, tuple(others), {"PATH": path}, folder / "hosts.json", variables)


def _lacking() -> str | None:
    """Why hosts cannot be made here, if they cannot."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not all(map(shutil.which, _TOOLS)):
        return f"it takes {', '.join(_TOOLS)}"
    return None


def _write_settings(folder: Path, names: Sequence[str], addresses: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["127.0.0.1 localhost", *map(" ".join, zip(addresses, names, strict=True))]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    for key in ("user", *names[1:]):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key]
        subprocess.run([*command, "-f", str(folder / key)], check=True, timeout=60)
    known, client, entries = [], _SSH.format(folder=folder), []
    for name, address in list(zip(names, addresses, strict=True))[1:]:
        settings = _SSHD.format(address=address, folder=folder, name=name)
        (folder / f"{name}.conf").write_text(settings)
        known.append(f"{address} {(folder / f'{name}.pub').read_text()}")
        client += f"Host {name}\n  HostName {address}\n"
        entries.append({"ssh": name, "ips": [address]})
    (folder / "known_hosts").write_text("".join(known))
    (folder / "ssh_config").write_text(client)
    (folder / "hosts.json").write_text(json.dumps(entries))
    # OpenSSH looks for its settings in the home of the user's entry, whatever HOME is.
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o755)


def _write_keys(folder: Path, name: str, variables: Mapping[str, str]) -> None:
    """Who may log in, with which variables."""
    options = ",".join(f'environment="{key}={value}"' for key, value in variables.items())
    (folder / f"{name}.keys").write_text(f"{options} {(folder / 'user.pub').read_text()}".lstrip())


@contextlib.contextmanager
def _host(folder: Path, name: str, address: str) -> Iterator[Host]:
    process = subprocess.Popen(
        ["unshare", "--net", "--uts", "--pid", "--mount", "--mount-proc", "--fork"]
        + ["--kill-child", "bash", "-c", _FIRST_PROCESS, "bash", name, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the one who made it.
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != "ready\n":
                pytest.skip(f"no namespace can be made here: {process.stderr.read().strip()}")
            (first,) = psutil.Process(process.pid).children()
            yield Host(name, address, first.pid)
        finally:
            # With the first process of a namespace the system kills all others.
            process.kill()


def _connect(desk: Host, others: Sequence[Host]) -> None:
    _run(desk, "ip", "link", "add", "bridge", "type", "bridge")
    _run(desk, "ip", "link", "set", "bridge", "up")
    _run(desk, "ip", "address", "add", f"{desk.address}/24", "dev", "bridge")
    for host in others:
        # The desk sees its own processes alone, so it cannot name the other end.
        command = ["nsenter", f"--net=/proc/{desk.first_pid}/ns/net", "ip", "link", "add"]
        command += [host.name, "type", "veth", "peer", "name", "eth0"]
        subprocess.run([*command, "netns", str(host.first_pid)], check=True, timeout=60)
        _run(desk, "ip", "link", "set", host.name, "master", "bridge")
        _run(desk, "ip", "link", "set", host.name, "up")
        _run(host, "ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        _run(host, "ip", "link", "set", "eth0", "up")


def _start_sshd(folder: Path, host: Host) -> None:
    """It detaches itself, and becomes a child of the first process."""
    log = folder / f"{host.name}.log"
    sshd = shutil.which("sshd") or "sshd"
    _run(host, sshd, "-f", str(folder / f"{host.name}.conf"), "-E", str(log))
    end = time.monotonic() + _SOON_S
    while not any(map(_listens, psutil.Process(host.first_pid).children())):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--target={pid}", "--net", "--uts", "--pid", "--mount"]


def _run(host: Host, *command: str) -> None:
    subprocess.run(host.command(*command), check=True, timeout=60)


def _namespace(pid: int) -> int:
    """The number of its namespace of processes; 0 where it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def _listens(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "[listener]" in " ".join(process.cmdline())
    return False


def _is_started(process: psutil.Process) -> bool:
    """True if somebody's program runs there: sshd waits long for those who do not answer."""
    with contextlib.suppress(psutil.NoSuchProcess):
        is_sshd = process.name().startswith("sshd")
        return process.status() != psutil.STATUS_ZOMBIE and not is_sshd
    return False


def own_variables(*names: str) -> dict[str, str]:
    """Those of this process, without what it does not have."""
    return {name: os.environ[name] for name in names if name in os.environ}
