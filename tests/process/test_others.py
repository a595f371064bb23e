"""Behaviour towards projects that do not use the plugin, or use it their own way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.processes import SweepRun

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
    pytester.runpytest_subprocess("--quick").assert_outcomes(passed=1)


def test_without_any_quick_the_flag_is_unknown(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess("--quick")
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
