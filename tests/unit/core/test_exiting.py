"""How a process exits."""

from __future__ import annotations

import gc
import subprocess
import sys

from pytest_yourai.core.exiting import exit_quickly

SCRIPT = """
import atexit, gc
from pytest_yourai.core.exiting import exit_quickly
atexit.register(lambda: print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000))
exit_quickly()
assert not gc.get_freeze_count()
"""


def test_as_a_process_exits_it_looks_at_nothing_that_it_imported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "True True\n"


def test_until_then_garbage_is_collected_as_ever() -> None:
    before = gc.get_freeze_count()
    exit_quickly()
    assert gc.get_freeze_count() == before
