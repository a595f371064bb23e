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
    read_lessons,
    set_aside_if_damaged,
    write_lessons,
)

LEARNED = Calibration((1.001, 1.02, 1.0228343142071923, 1.084), (0.002, 0.03, 0.015, 0.075), 12)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_file().parent.mkdir(mode=0o700)
    return cache_file()


def kept(trials: int) -> Calibration:
    return dataclasses.replace(Calibration(), trials=trials)


def keep(group: str, learned: Calibration) -> None:
    write_lessons(group, "m", {"lora": learned})


def of(learned: Calibration) -> dict[str, dict[str, Calibration]]:
    """Lessons as `keep` writes them."""
    return {"lora": {"m": learned}}


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
    return {"lora": {"m": usual}}


def asides() -> list[Path]:
    return sorted(cache_file().parent.glob("calibration-damaged-*.json"))


def test_each_machine_has_its_own_calibration() -> None:
    assert read_lessons("one") == {}
    keep("one", kept(3))
    keep("two", kept(5))
    assert (read_lessons("one"), read_lessons("two")) == (of(kept(3)), of(kept(5)))


def test_a_file_without_a_digest_is_read_as_earlier_versions_wrote_it(cache: Path) -> None:
    cache.write_text(json.dumps({"one": entry()}))
    assert set_aside_if_damaged("one") is None
    assert read_lessons("one") == of(LEARNED)
    keep("two", kept(1))
    assert read_lessons("one") == of(LEARNED)
    assert DIGEST in json.loads(cache.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\0\xff",
        '{"one": {"lora": {"m": {"factors": {}}}}}',
        '{"one": {"lora": 1}}',
        '{"one": 1}',
        '{"one": ' * 100_000,
        '{"digest": "sha256:0", "one": {}}',
        '{"digest": 3}',
    ],
)
def test_a_damaged_file_is_kept_under_another_name(cache: Path, text: str) -> None:
    cache.write_text(text, encoding="utf-8")
    assert read_lessons("one") == {}
    line = set_aside_if_damaged("one")
    [aside] = asides()
    assert aside.read_text(encoding="utf-8") == text
    assert line is not None
    assert line.startswith(f"{cache} is damaged (")
    assert line.endswith(f"): it is kept as {aside.name}, and this machine is learned anew")
    assert set_aside_if_damaged("one") is None
    keep("one", kept(2))
    assert read_lessons("one") == of(kept(2))


def test_what_is_damaged_when_it_is_to_be_written_is_kept_too(cache: Path) -> None:
    for text in ("{", "[1]"):
        cache.write_text(text)
        keep("one", kept(2))
        assert read_lessons("one") == of(kept(2))
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
        {"widths": 0.31},
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
    assert read_lessons("one") == {}
    line = set_aside_if_damaged("one")
    assert line is not None
    assert len(line) < 400
    assert len(asides()) == 1
    assert read_lessons("one") == {}
    assert read_lessons("two") == of(LEARNED), "what is another machine's is its own business"


def test_no_bit_of_a_file_can_change_unnoticed(cache: Path) -> None:
    keep("one", LEARNED)
    written = cache.read_bytes()
    chance = random.Random(1)
    for bit in chance.sample(range(8 * len(written)), 400):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(flipped)
        assert read_lessons("one") in (of(LEARNED), {}), bit


def test_models_and_recipes_are_kept_apart_and_the_newest_stay() -> None:
    write_lessons("one", "a", {"lora": kept(1), "full": kept(2)})
    write_lessons("one", "b", {"lora": kept(3)})
    write_lessons("one", "a", {"lora": kept(4)})
    assert read_lessons("one") == {
        "lora": {"a": kept(4), "b": kept(3)},
        "full": {"a": kept(2)},
    }
    for number in range(19):
        write_lessons("one", f"later {number}", {"lora": kept(1)})
    lessons = read_lessons("one")["lora"]
    assert len(lessons) == 20
    assert "a" in lessons
    assert "b" not in lessons, "it was measured before all others"


def test_the_calibration_of_a_machine_of_earlier_versions_is_left_alone(cache: Path) -> None:
    [old] = entry()["lora"].values()
    cache.write_text(json.dumps({"one": old}))
    assert read_lessons("one cpu llama") == {}
    assert set_aside_if_damaged("one cpu llama") is None
    keep("one cpu llama", kept(2))
    assert json.loads(cache.read_text())["one"] == old


def test_a_cache_that_cannot_be_written_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep("one", kept(2))
    assert read_lessons("one") == {}
    assert set_aside_if_damaged("one") is None


def test_a_file_that_cannot_be_read_is_not_replaced(cache: Path) -> None:
    cache.mkdir()
    keep("one", kept(2))
    assert read_lessons("one") == {}
    assert cache.is_dir()


def test_two_sessions_that_end_together_keep_both_entries(cache: Path) -> None:
    keep("one", kept(1))
    other = threading.Thread(target=keep, args=("two", kept(2)), daemon=True)
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other.start()
        other.join(0.3)
        assert other.is_alive(), "it waits for the session that is writing"
        write_json(cache, {"three": entry()}, "calibration")
    other.join(60)
    assert (read_lessons("three"), read_lessons("two")) == (of(LEARNED), of(kept(2)))


def _write_five_times(machine: str) -> None:
    for trials in range(1, 6):
        keep(machine, kept(trials))


def test_ten_sessions_that_write_five_times_each_lose_nothing() -> None:
    machines = [f"machine {number}" for number in range(10)]
    with multiprocessing.get_context("fork").Pool(10) as pool:
        pool.map(_write_five_times, machines, chunksize=1)
    assert [read_lessons(machine) for machine in machines] == [of(kept(5))] * 10
    assert asides() == []
