"""Sweeps without pytest, as programs and notebooks run them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

import pytest_yourai
from pytest_yourai import InputError, Outcome, TrialResult

from support.processes import finish, own_children, started, wait_for
from support.scripted_engine import COMPILE_VARIABLE, STEP_VARIABLE

Swept = Callable[..., Generator[TrialResult, None, None]]


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    """A sweep of three batch sizes of tiny in a folder of its own, which has its files."""
    monkeypatch.chdir(tmp_path)

    def run(**arguments: Any) -> Generator[TrialResult, None, None]:
        usual = {"batch_size": [1, 2, 4], "rank": 4, "num_layers": 2, "steps": 2}
        return pytest_yourai.sweep("tiny", output="p.json", log="j.jsonl", **{**usual, **arguments})

    return run


def workers() -> list[psutil.Process]:
    return own_children(recursive=True)


def events(name: str) -> list[dict[str, Any]]:
    lines = map(json.loads, Path("j.jsonl").read_text().splitlines())
    return [each for each in lines if each["event"] == name]


def test_results_come_one_by_one_and_are_written(swept: Swept) -> None:
    running = swept()
    first = next(running)
    assert first.config.batch_size == 1
    assert workers(), "the worker stays for the next trial"
    assert len(events("trial_complete")) == 1
    others = list(running)
    assert [each.config.batch_size for each in others] == [2, 4]
    assert {each.outcome for each in (first, *others)} == {Outcome.OK}
    assert not workers()
    profile = pytest_yourai.load("p.json")
    assert profile.complete
    assert profile.largest is not None
    assert profile.largest.config == others[-1].config
    kept = list(swept(resume=True))
    assert all(each.kept for each in kept)


def test_closing_ends_the_worker_and_keeps_what_was_measured(swept: Swept) -> None:
    running = swept()
    next(running)
    running.close()
    assert not workers()
    assert len(pytest_yourai.load("p.json").rows) == 1


PROGRAM = """
import pytest_yourai
arguments = {"batch_size": [1, 2], "rank": 4, "num_layers": 2, "steps": 2}
try:
    for each in pytest_yourai.sweep("tiny", output="p.json", log="j.jsonl", **arguments):
        print(each.outcome, flush=True)
except KeyboardInterrupt:
    import psutil
    print("interrupted,", len(psutil.Process().children()), "children")
"""

LEFT_OPEN = """
import pytest_yourai
running = pytest_yourai.sweep("tiny", batch_size=[1, 2], rank=4, num_layers=2, output="p.json")
print(next(running).outcome)
"""


def test_ctrl_c_comes_out_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    endless = {COMPILE_VARIABLE: "60"}  # of the second trial
    with started([sys.executable, "-c", PROGRAM], tmp_path, endless) as program:
        wait_for(lambda: Path("j.jsonl").exists() and len(events("trial_start")) == 2)
        program.send_signal(signal.SIGINT)
        assert finish(program).splitlines() == ["ok", "interrupted, 0 children"]
    profile = pytest_yourai.load("p.json")
    assert [row.config.batch_size for row in profile.rows] == [1]
    assert not profile.complete


def test_a_program_that_ends_in_the_middle_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with started([sys.executable, "-c", LEFT_OPEN], tmp_path) as program:
        assert finish(program).splitlines() == ["ok"]
    assert len(pytest_yourai.load("p.json").rows) == 1


def test_a_trial_without_an_end_is_a_timeout(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first two steps compile, and the limit counts from their end.
    monkeypatch.setenv(STEP_VARIABLE, "0.7")
    [result] = swept(batch_size=1, timeout_s=1)
    assert result.outcome is Outcome.TIMEOUT
    assert result.warmup_step_times_s
    assert not workers()


def test_it_runs_inside_an_event_loop_and_outside_the_main_thread(swept: Swept) -> None:
    async def cell() -> list[Outcome]:
        return [each.outcome for each in swept(batch_size=1)]

    assert asyncio.run(cell()) == [Outcome.OK]
    found: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: found.extend(each.outcome for each in swept(batch_size=2))
    )
    thread.start()
    thread.join(120)
    assert found == [Outcome.OK]
    assert not workers()


def test_what_a_worker_refuses_comes_out_of_the_generator(swept: Swept, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match="^data: tiny has no tokenizer"):
        swept(data="data")
