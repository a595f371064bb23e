"""Who holds memory: the real processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from pytest_yourai.machine.system_memory import largest_processes


def test_the_largest_come_first_and_this_process_is_among_all() -> None:
    everyone = largest_processes(1 << 20)
    sizes = [each.held_bytes for each in everyone]
    assert sizes == sorted(sizes, reverse=True)
    own = next(each for each in everyone if each.pid == os.getpid())
    assert own.held_bytes > 10_000_000
    assert own.name


def test_a_process_that_takes_much_is_named_with_its_number() -> None:
    code = "held = bytearray(b'1') * 1_000_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as taker:
        assert taker.stdout is not None
        taker.stdout.readline()
        held = {each.pid: each.held_bytes for each in largest_processes(30)}
        taker.kill()
    assert held[taker.pid] >= 1_000_000_000
