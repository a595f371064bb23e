"""Single bits of what is read back are flipped: `tests/attacks/flips.py` does so 10,000 times."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from support.flips import TARGETS, TRACEBACK, WRONG, Target, flip_bits, table


@pytest.mark.parametrize("make", TARGETS)
def test_no_flipped_bit_gives_another_answer_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Target]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = make(tmp_path)
    found = flip_bits(target, 75, random.Random(7))
    assert found["flips"] == 75
    assert found[WRONG] == found[TRACEBACK] == 0, table({target.name: found})


def test_the_attack_sees_what_an_unprotected_file_would_do(tmp_path: Path) -> None:
    journal, profile = (make(tmp_path) for make in TARGETS[:2])
    text = journal.path.read_text()
    journal.path.write_text(_without_checks(text))
    profile.path.write_text(profile.path.read_text().replace('"digest"', '"older"'))
    for each in (journal, profile):
        assert flip_bits(each, 75, random.Random(7))[WRONG] > 0, each.name


def _without_checks(text: str) -> str:
    return "".join(line.partition(', "crc32"')[0] + "}\n" for line in text.splitlines())
