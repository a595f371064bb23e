"""pytest-timeout ends a hanging trial, and nothing else."""

from __future__ import annotations

import signal
import time

from sweep_runs import SweepRun
from workers import SignalInTrial, worker_processes


def test_a_hang_is_a_timeout_and_the_next_trial_gets_a_new_worker(sweep: SweepRun) -> None:
    start = time.monotonic()
    done = sweep(*("--yourai-timeout", "8"), steps=40, plugins=(SignalInTrial(2, signal.SIGSTOP),))
    assert done.outcomes == ["ok", "timeout", "ok"]
    assert done.ret == 1
    done.run.assert_outcomes(passed=2, failed=1)
    assert done.rows[1]["error"].startswith("no end after 8 s, in step ")
    assert done.rows[1]["warmup_step_times_s"]
    assert len(done.events("subprocess_timeout")) == 1
    assert len(done.events("subprocess_spawned")) == 2
    assert worker_processes() == []
    assert time.monotonic() - start < 60


def test_items_carry_the_mark_with_the_value_given(sweep: SweepRun) -> None:
    class Marks:
        found: list[float | None] = []  # noqa: RUF012 - one test's own

        def pytest_collection_modifyitems(self, items: list[object]) -> None:
            for item in items:
                mark = item.get_closest_marker("timeout")  # type: ignore[attr-defined]
                self.found.append(mark.args[0] if mark else None)

    marks = Marks()
    sweep("--collect-only", plugins=(marks,))
    sweep("--collect-only", "--timeout", "50", plugins=(marks,))
    sweep("--collect-only", "--timeout", "50", "--yourai-timeout", "7", plugins=(marks,))
    assert marks.found == [300.0] * 3 + [50.0] * 3 + [7.0] * 3


def test_pytests_own_timeout_holds_as_well(sweep: SweepRun) -> None:
    done = sweep("--timeout", "8", steps=40, plugins=(SignalInTrial(2, signal.SIGSTOP),))
    assert done.outcomes == ["ok", "timeout", "ok"]
