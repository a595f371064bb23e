"""Behaviour towards projects that do not use the plugin, or use it their own way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from _pytest.runner import runtestprotocol

from support.processes import SweepRun, run_pytest

HEAVY = ("mlx", "numpy", "pydantic", "psutil", "yaml")


def test_without_our_flags_nothing_heavy_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    code = (
        "import sys, pytest; status = pytest.main(['-q']); "
        f"print('imported:', [name for name in {HEAVY} if name in sys.modules]); "
        "assert 'pytest_yourai.plugin' in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "imported: []" in done.stdout


def test_a_project_with_a_quick_of_its_own_still_works(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        def pytest_addoption(parser):
            parser.addoption("--quick", action="store_true")
        """
    )
    pytester.makepyfile("def test_mine(request): assert request.config.getoption('--quick')")
    run_pytest(pytester.path, "--quick").assert_outcomes(passed=1)


def test_without_any_quick_the_flag_is_unknown(pytester: pytest.Pytester) -> None:
    done = run_pytest(pytester.path, "--quick")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*unrecognized arguments: --quick*"])


def test_a_strict_project_with_other_naming_can_sweep(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    pytester.makeini(
        """
        [pytest]
        testpaths = checks
        python_files = check_*.py
        python_functions = check_*
        addopts = --strict-markers --strict-config
        filterwarnings = error
        """
    )
    pytester.mkdir("checks").joinpath("check_a.py").write_text("def check_a(): assert False\n")
    done = sweep(subprocess=True)
    assert done.ret == 0
    assert done.outcomes == ["ok"] * 3


def test_a_model_in_the_ini_file_does_not_replace_the_projects_tests(
    pytester: pytest.Pytester, sweep: SweepRun
) -> None:
    pytester.makeini(
        "[pytest]\nyourai_model = tiny\nyourai_matrix = small.yaml\nyourai_steps = 2\n"
    )
    pytester.makepyfile(
        """
        def test_mine():
            pass

        def test_budget(trial):
            assert trial.peak_memory_gb < 20
        """
    )
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(passed=1 + 3)


class CallsAgain:
    """As pytest-rerunfailures does: an item that failed is run once more, and counts once."""

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        for is_last in (False, True):
            item._initrequest()  # type: ignore[attr-defined]
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            is_over = is_last or not any(report.failed for report in reports)
            for report in reports:
                if report.failed and not is_over:
                    report.outcome = "rerun"  # type: ignore[assignment]
                item.ihook.pytest_runtest_logreport(report=report)
            if is_over:
                break
        return True

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("rerun", "R", "RERUN") if str(report.outcome) == "rerun" else None


def test_an_item_that_is_called_again_is_measured_again_and_counts_once(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGKILL@measure")
    done = sweep(plugins=(CallsAgain(),))
    assert done.ret == 0, done.text
    assert done.outcomes == ["ok"] * 3
    completed = [event["outcome"] for event in done.events("trial_complete")]
    assert completed == ["ok", "crashed", "ok", "ok"]
    done.run.assert_outcomes(passed=3)
    assert "/3] " in done.text
    assert "[4/" not in done.text
