"""Hosts are asked at once, and what asks them ends with whoever waits for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from pytest_yourai.core.errors import ConnectError
from pytest_yourai.core.hosts import Host, HostGroup
from pytest_yourai.worker.ranks import ssh_check

GROUP = HostGroup((Host("a"), Host("b"), Host("127.0.0.1")), None, Path("h.json"))


def make_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    ssh = folder / "ssh"
    ssh.write_text(f"#!/bin/sh\n{script}\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def running() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if each.name() == "sleep"]


def test_hosts_that_answer_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ssh(tmp_path, monkeypatch, 'echo "$5" >> "$(dirname "$0")/asked"')
    ssh_check.check_hosts(GROUP)
    assert sorted((tmp_path / "asked").read_text().split()) == ["a", "b"]


def test_the_host_that_lacks_something_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ssh(tmp_path, monkeypatch, '[ "$5" = a ] || { echo mlx_lm; exit 3; }')
    with pytest.raises(ConnectError, match="host b lacks mlx_lm"):
        ssh_check.check_hosts(GROUP)


def test_hosts_that_do_not_answer_have_one_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ssh(tmp_path, monkeypatch, "exec sleep 300")
    monkeypatch.setattr(ssh_check, "_TIMEOUT_S", 0.2)
    with pytest.raises(ConnectError, match=r"host a did not answer ssh within 0\.2 s"):
        ssh_check.check_hosts(GROUP)
    assert running() == []


def test_an_interruption_ends_the_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ssh(tmp_path, monkeypatch, "exec sleep 300")
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ssh_check.check_hosts(GROUP)
    assert time.monotonic() - began < 15
    assert running() == []
    timer.join()


def test_without_ssh_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConnectError, match="ssh cannot be started"):
        ssh_check.check_hosts(GROUP)
