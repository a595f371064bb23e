"""Samples: Linux's are of a real process, those of macOS and nvidia-smi in the documented form."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_yourai.machine.process_memory import read_process_memory
from pytest_yourai.machine.system_footprint import (
    parse_footprint,
    parse_nvidia_smi,
    parse_rollup,
    read_system_footprint,
    tool_name,
)

ROLLUP = """\
55d0c1a00000-7ffd4c9f4000 ---p 00000000 00:00 0                          [rollup]
Rss:              118584 kB
Pss:               97301 kB
Anonymous:         71216 kB
"""

FOOTPRINT = """\
======================================================================
python3.12 [4711]: 64-bit    Footprint: {} (16384 bytes per page)
======================================================================

  Dirty      Clean  Reclaimable    Regions    Category
    ---        ---          ---        ---    ---
"""


def test_tools_are_read() -> None:
    assert parse_rollup(ROLLUP) == 118584 * 1024
    assert parse_footprint(FOOTPRINT.format("123731968 B")) == 123731968
    assert parse_footprint(FOOTPRINT.format("118 MB")) == 118 << 20
    assert parse_footprint(FOOTPRINT.format("1.5 GB")) == 3 << 29
    assert parse_nvidia_smi("1187\n") == 1187 << 20


def test_other_texts_are_not_read() -> None:
    assert parse_rollup("") is None
    assert parse_footprint("footprint: no process found") is None
    assert parse_nvidia_smi("[N/A]\n") is None


@pytest.mark.parametrize(
    ("platform", "has_own_memory", "command", "answer", "found"),
    [
        ("darwin", False, "footprint -f bytes 4711", FOOTPRINT.format("5 MB"), 5 << 20),
        (
            "linux",
            True,
            "nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 3",
            "7\n",
            7 << 20,
        ),
    ],
)
def test_the_right_tool_is_asked(
    platform: str,
    has_own_memory: bool,
    command: str,
    answer: str,
    found: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    asked: list[str] = []

    def run(*words: str) -> str:
        asked.append(" ".join(words))
        return answer

    said = read_system_footprint(4711, has_own_memory=has_own_memory, platform=platform, run=run)
    assert (said, asked) == (found, [command])
    assert command.startswith(tool_name(has_own_memory=has_own_memory, platform=platform))


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's /proc")
def test_both_ways_agree_on_this_process() -> None:
    own = read_process_memory(os.getpid())
    other = read_system_footprint(os.getpid(), has_own_memory=False)
    assert own is not None
    assert other == pytest.approx(own.footprint_bytes, rel=0.05)
    assert read_system_footprint(1 << 30, has_own_memory=False) is None
