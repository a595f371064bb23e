"""A run that was to measure, and measured nothing, is not a success and says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import SweepResult, SweepRun

SKIPPING = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.skip(reason="no GPU here"))
"""

LEAVING_OUT = """
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[:])
    items[:] = []
"""

CALLING = """
def pytest_runtest_protocol(item):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    return True
"""


def why(done: SweepResult) -> str:
    [line] = [each for each in done.text.splitlines() if each.startswith("Nothing was measured: ")]
    return " ".join(done.text[done.text.index(line) :].split())


@pytest.mark.parametrize(
    ("ini", "conftest", "status", "part"),
    [
        ("addopts = --benchmark-skip", "", 1, "3 of 3 items ended so: Skipping benchmark"),
        ("addopts = --setup-only -p no:benchmark", "", 1, "only set up"),
        ("addopts = -k no_such_test", "", 5, "all 3 configurations were deselected: change -k"),
        ("", SKIPPING, 1, "3 of 3 items ended so: no GPU here"),
        ("", LEAVING_OUT, 5, "all 3 configurations were deselected"),
        ("", CALLING, 1, "no configuration was collected"),
        ("usefixtures = database", "", 1, "the project's fixture database is for every"),
    ],
)
def test_it_fails_and_says_why(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    ini: str,
    conftest: str,
    status: int,
    part: str,
    survived: Callable[[str], None],
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makeconftest(conftest)
    done = sweep()
    assert done.ret == status, done.text
    assert part in why(done)
    selectable = "What -k can select by: batch1, batch2, batch4, rank4, layers2\n"
    assert (selectable in done.text) is ("deselected" in part)
    survived("nothing measured")


def test_it_fails_beside_tests_that_pass(
    pytester: pytest.Pytester, sweep: SweepRun, survived: Callable[[str], None]
) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    done = sweep("test_mine.py")
    assert done.ret == 1
    assert "no configuration was collected" in why(done)
    survived("nothing measured")


def test_a_mistake_is_reported_alone(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    from pytest_yourai.store.journal import Journal  # noqa: PLC0415

    first = Journal(pytester.path / "benchmark_log.jsonl")
    first.write("benchmark_start", pid=1)
    try:
        done = sweep()
    finally:
        first.close()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "Nothing was measured" not in done.text


def test_collecting_alone_is_a_success(sweep: SweepRun) -> None:
    assert sweep("--collect-only").ret == 0


def test_a_model_in_the_ini_file_asks_for_no_measurement(
    pytester: pytest.Pytester, small_matrix: Path
) -> None:
    pytester.makeini("[pytest]\nyourai_model = tiny\nyourai_matrix = small.yaml\n")
    pytester.makepyfile("def test_mine(): pass")
    hint = "tox.ini names what to measure, for tests that take `trial`; to sweep: pytest --yourai"
    done = pytester.runpytest_inprocess()
    assert done.ret == 0
    assert f"{hint}-model=tiny\n" in done.stdout.str()
    pytester.makepyfile("def test_mine(trial): pass")
    assert hint not in pytester.runpytest_inprocess("-k", "nothing").stdout.str()


def test_the_yourai_command_measures_whatever_the_project_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    (tmp_path / "conftest.py").write_text(LEAVING_OUT)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --benchmark-skip -n auto\nusefixtures = database\n"
        "required_plugins = no-such-plugin\nyourai_matrix = one.yaml\nyourai_steps = 2\n"
    )
    (tmp_path / "one.yaml").write_text("batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n")
    command = [sys.executable, "-m", "pytest_yourai", "optimize", "--model=tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Largest, fastest, leanest configuration that fits\n" in done.stdout
