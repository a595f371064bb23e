"""Fixtures of a project that have the names of ours, or are for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import SweepRun


def test_packaged_items_take_the_plugins_own_fixtures(
    pytester: pytest.Pytester, sweep: SweepRun, survived: Callable[[str], None]
) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def trial():
            raise RuntimeError("the project's trial")

        @pytest.fixture
        def benchmark(trial):
            raise RuntimeError("the project's benchmark")
        """
    )
    done = sweep("--benchmark-json=b.json")
    assert done.ret == 0, done.text
    assert done.outcomes == ["ok"] * 3
    assert '"minimum_memory_bytes"' in (pytester.path / "b.json").read_text()
    survived("the project's own trial and benchmark fixtures")


def test_only_tests_whose_trial_is_ours_are_parametrized(
    pytester: pytest.Pytester, small_matrix: Path
) -> None:
    pytester.makeini(
        "[pytest]\nyourai_model = tiny\nyourai_matrix = small.yaml\nyourai_steps = 2\n"
    )
    pytester.makepyfile(
        test_direct="""
        import pytest

        @pytest.mark.parametrize("trial", range(3))
        def test_repeated(trial):
            assert trial >= 0
        """,
        test_own="""
        import pytest

        @pytest.fixture
        def trial():
            return 7

        def test_own(trial):
            assert trial == 7
        """,
        test_generated="""
        def pytest_generate_tests(metafunc):
            metafunc.parametrize("trial", [1, 2])

        def test_generated(trial):
            assert trial in (1, 2)
        """,
        test_built_on_ours="""
        import pytest

        @pytest.fixture
        def trial(trial):
            return trial

        def test_measured(trial):
            assert trial.success
        """,
    )
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(passed=3 + 1 + 2 + 3)


@pytest.mark.parametrize(
    ("ini", "conftest"),
    [
        ("", "@pytest.fixture(autouse=True)\ndef database(): raise RuntimeError('no server')"),
        ("", "@pytest.fixture(autouse=True)\ndef database(): pytest.skip('no server')"),
        ("", "@pytest.fixture(autouse=True, scope='session')\ndef database(): 1 / 0"),
        ("usefixtures = database", "@pytest.fixture\ndef database(): raise RuntimeError('none')"),
        ("usefixtures = database", ""),
    ],
)
def test_a_fixture_for_every_test_is_named_with_the_way_out(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    ini: str,
    conftest: str,
    survived: Callable[[str], None],
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makeconftest(f"import pytest\n{conftest}\n")
    done = sweep("-rs", "-k", "batch1")
    assert done.ret == 1
    text = " ".join(done.text.split())
    assert "the project's fixture database is for every test" in text
    assert "--noconftest" in text
    assert sweep("-k", "batch1", "--noconftest", "-o", "usefixtures=").ret == 0
    survived("the project's fixture for every test fails")
