"""Compiling has a limit of its own, and the item's counts from its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.report import compile_lines

from support.processes import SweepRun
from support.scripted_engine import COMPILE_VARIABLE
from support.training_runs import Heard, make_input, run, settings


def test_a_slow_compilation_costs_no_result_and_what_hangs_after_it_still_ends(
    sweep: SweepRun, faulty_worker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMPILE_VARIABLE, "3")
    monkeypatch.setattr(compile_lines, "_FIRST_LINE_S", 1.0)
    faulty_worker("hang@measure")
    done = sweep("--yourai-timeout", "5")
    assert done.outcomes == ["ok", "timeout", "ok"]
    first, second, _ = done.rows
    assert second["overdue"] == "item"
    assert second["error"].startswith("no end after 5 s, in step ")
    assert ", beside 6 s of compiling;" in second["error"]
    assert 6 <= second["compile_time_s"] < 60
    assert second["step_times_s"], "what was measured before is kept"
    assert first["compile_time_s"] > 0
    assert [row["load_time_s"] is None for row in done.rows] == [False, True, False]
    done.stdout.fnmatch_lines(["batch=2, rank=4, layers=2: compiling, 0:01 of at most 15:00"])


@pytest.mark.nightly
def test_under_xdist_too(sweep: SweepRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILE_VARIABLE, "3")
    assert sweep("--timeout", "5", "-n", "1", subprocess=True).outcomes == ["ok"] * 3


def test_a_compilation_without_end_is_a_timeout_of_its_own(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("hang@compile")
    done = sweep("--yourai-compile-timeout", "3")
    assert done.outcomes == ["ok", "timeout", "ok"]
    row = done.rows[1]
    assert row["overdue"] == "compile"
    assert row["error"].startswith("compiling had no end after 3 s, in step 1; give it more with ")
    assert "--yourai-compile-timeout" in row["remedy"]
    done.stdout.fnmatch_lines(["*worker stderr*", "*worker_faults.py*in hang*"])


def test_training_ends_where_a_compilation_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMPILE_VARIABLE, "60")
    heard = Heard()
    asked = settings(make_input(tmp_path), "adapters", data=None, compile_timeout_s=1.0)
    ended = run(asked, heard)
    assert ended.step == 0
    assert ended.problem == (
        "compiling had no end after 1 s, in step 1; nothing is saved yet; give it more with "
        "--compile-timeout"
    )
    assert 0 < len(heard.compiled) < 20
