"""What earlier runs taught about a machine: kept, and believed only as far as it can be."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import multiprocessing
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.digest import DIGEST
from pytest_yourai.core.files import write_json
from pytest_yourai.estimate.calibration import COMPONENTS, Calibration
from pytest_yourai.estimate.calibration_file import (
    cache_file,
    read_calibration,
    set_aside_if_damaged,
    write_calibration,
)

LEARNED = Calibration((1.001, 1.02, 1.0228343142071923, 1.084), (0.002, 0.03, 0.015, 0.075), 12)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_file().parent.mkdir(mode=0o700)
    return cache_file()


def kept(trials: int) -> Calibration:
    return dataclasses.replace(Calibration(), trials=trials)


def entry(**changes: Any) -> dict[str, Any]:
    """An entry of the file, of which factors, widths or trials may be another."""
    usual: dict[str, Any] = {
        "factors": dict(zip(COMPONENTS, LEARNED.factors, strict=True)),
        "widths": dict(zip(COMPONENTS, LEARNED.widths, strict=True)),
        "trials": LEARNED.trials,
    }
    for name, value in changes.items():
        if name == "trials":
            usual[name] = value
        else:
            usual[name]["activations"] = value
    return usual


def asides() -> list[Path]:
    return sorted(cache_file().parent.glob("calibration-damaged-*.json"))


def test_each_machine_has_its_own_calibration() -> None:
    assert read_calibration("one") == Calibration()
    write_calibration("one", kept(3))
    write_calibration("two", kept(5))
    assert (read_calibration("one"), read_calibration("two")) == (kept(3), kept(5))


def test_a_file_without_a_digest_is_read_as_earlier_versions_wrote_it(cache: Path) -> None:
    cache.write_text(json.dumps({"one": entry()}))
    assert set_aside_if_damaged("one") is None
    assert read_calibration("one") == LEARNED
    write_calibration("two", kept(1))
    assert read_calibration("one") == LEARNED
    assert DIGEST in json.loads(cache.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\0\xff",
        '{"one": {"factors": {}}}',
        '{"one": 1}',
        '{"one": ' * 100_000,
        '{"digest": "sha256:0", "one": {}}',
        '{"digest": 3}',
    ],
)
def test_a_damaged_file_is_kept_under_another_name(cache: Path, text: str) -> None:
    cache.write_text(text, encoding="utf-8")
    assert read_calibration("one") == Calibration()
    line = set_aside_if_damaged("one")
    [aside] = asides()
    assert aside.read_text(encoding="utf-8") == text
    assert line is not None
    assert line.startswith(f"{cache} is damaged (")
    assert line.endswith(f"): it is kept as {aside.name}, and this machine is learned anew")
    assert set_aside_if_damaged("one") is None
    write_calibration("one", kept(2))
    assert read_calibration("one") == kept(2)


def test_what_is_damaged_when_it_is_to_be_written_is_kept_too(cache: Path) -> None:
    for text in ("{", "[1]"):
        cache.write_text(text)
        write_calibration("one", kept(2))
        assert read_calibration("one") == kept(2)
    assert {each.read_text() for each in asides()} == {"{", "[1]"}


@pytest.mark.parametrize(
    "changes",
    [
        {"factors": 5.022834314207192},
        {"factors": 0.2},
        {"factors": 0},
        {"factors": -1.0},
        {"factors": 1e300},
        {"factors": float("nan")},
        {"factors": float("inf")},
        {"factors": 10**400},
        {"factors": True},
        {"factors": "1.0"},
        {"factors": None},
        {"widths": 1e300},
        {"widths": 0.0},
        {"widths": -0.03},
        {"widths": 1e-9},
        {"widths": 0.3},
        {"trials": float("inf")},
        {"trials": -1},
        {"trials": 1.5},
        {"trials": 10**30},
        {"trials": 10**400},
        {"trials": "12"},
    ],
    ids=str,
)
def test_figures_that_no_machine_can_have_taught_are_set_aside(
    cache: Path, changes: dict[str, Any]
) -> None:
    cache.write_text(json.dumps({"one": entry(**changes), "two": entry()}))
    assert read_calibration("one") == Calibration()
    line = set_aside_if_damaged("one")
    assert line is not None
    assert len(line) < 400
    assert len(asides()) == 1
    assert read_calibration("one") == Calibration()
    assert read_calibration("two") == LEARNED, "what is another machine's is its own business"


def test_no_bit_of_a_file_can_change_unnoticed(cache: Path) -> None:
    write_calibration("one", LEARNED)
    written = cache.read_bytes()
    chance = random.Random(1)
    for bit in chance.sample(range(8 * len(written)), 400):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(flipped)
        assert read_calibration("one") in (LEARNED, Calibration()), bit


def test_what_is_kept_for_the_next_model_can_be_read_again() -> None:
    wild = Calibration((-3.0, 0.0, 17.0, 1.2), (9.0, 1e-12, 0.03, 0.15), 7)
    write_calibration("one", wild.for_the_next_model())
    assert read_calibration("one").trials == 7
    assert set_aside_if_damaged("one") is None


def test_a_cache_that_cannot_be_written_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_calibration("one", kept(2))
    assert read_calibration("one") == Calibration()
    assert set_aside_if_damaged("one") is None


def test_a_file_that_cannot_be_read_is_not_replaced(cache: Path) -> None:
    cache.mkdir()
    write_calibration("one", kept(2))
    assert read_calibration("one") == Calibration()
    assert cache.is_dir()


def test_two_sessions_that_end_together_keep_both_entries(cache: Path) -> None:
    write_calibration("one", kept(1))
    other = threading.Thread(target=write_calibration, args=("two", kept(2)), daemon=True)
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other.start()
        other.join(0.3)
        assert other.is_alive(), "it waits for the session that is writing"
        write_json(cache, {"three": entry()}, "calibration")
    other.join(60)
    assert (read_calibration("three"), read_calibration("two")) == (LEARNED, kept(2))


def _write_five_times(machine: str) -> None:
    for trials in range(1, 6):
        write_calibration(machine, kept(trials))


def test_ten_sessions_that_write_five_times_each_lose_nothing() -> None:
    machines = [f"machine {number}" for number in range(10)]
    with multiprocessing.get_context("fork").Pool(10) as pool:
        pool.map(_write_five_times, machines, chunksize=1)
    assert [read_calibration(machine) for machine in machines] == [kept(5)] * 10
    assert asides() == []
