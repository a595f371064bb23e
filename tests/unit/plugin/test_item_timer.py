"""pytest-timeout's own timer, which stands still while a trial compiles."""

from __future__ import annotations

import pytest

CONFTEST = """
    import time
    import pytest
    from pytest_yourai.plugin.item_timer import ItemTimer
    from pytest_yourai.sweep.trial_progress import TrialProgress

    COMPILING, RUNNING = (
        TrialProgress("warm-up", 1, None, None, None, 1, compiling_s=each) for each in (0.0, None)
    )

    def pytest_configure(config):
        config.timer = ItemTimer(config)
        config.pluginmanager.register(config.timer)

    @pytest.fixture
    def trial(request):
        def run(*phases):
            timer = request.config.timer
            with timer.of(request.node):
                for progress, duration_s in phases:
                    timer.follow(progress)
                    timer.follow(progress)
                    time.sleep(duration_s)
        return run
"""

TESTS = """
    import threading
    import pytest
    from conftest import COMPILING, RUNNING

    @pytest.mark.timeout(1, method="{method}")
    def test_compiles_for_longer(trial):
        trial((RUNNING, 0.6), (COMPILING, 1.2), (RUNNING, 0.6), (COMPILING, 0.1))
        timers = [each for each in threading.enumerate() if "pytest_timeout" in each.name]
        assert len(timers) == ("{method}" == "thread")

    @pytest.mark.timeout(0, method="{method}")
    def test_without_a_limit(trial):
        trial((RUNNING, 0.1), (COMPILING, 0.1), (RUNNING, 0.1))
        assert not [each for each in threading.enumerate() if "pytest_timeout" in each.name]
"""

HANGS = """
    import pytest
    from conftest import COMPILING, RUNNING

    @pytest.mark.timeout(0.5, method="signal", func_only=True)
    def test_hangs_after_it(trial):
        trial((COMPILING, 0.6), (RUNNING, 30))

    @pytest.mark.timeout(0.5, method="signal")
    def test_hangs_where_compiling_broke_off(trial):
        trial((COMPILING, 0.6))
        trial((RUNNING, 30))
"""


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_the_limit_counts_from_the_end_of_compiling(pytester: pytest.Pytester, method: str) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS.format(method=method))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_what_hangs_after_it_ends_as_without(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(HANGS)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*Failed: Timeout (>0.5s) from pytest-timeout*"] * 2)


def test_without_pytest_timeout_there_is_nothing_to_hold(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        from conftest import COMPILING, RUNNING

        def test_compiles(trial):
            trial((COMPILING, 0), (RUNNING, 0))
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:timeout").assert_outcomes(
        passed=1
    )
