"""pytest-timeout's mark, and its own flag. What a hang becomes: test_worker_faults.py."""

from __future__ import annotations

from collections.abc import Callable

from support.processes import SweepRun


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


def test_pytests_own_timeout_holds_as_well(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("SIGSTOP@measure")
    done = sweep("--timeout", "8")
    assert done.outcomes == ["ok", "timeout", "ok"]
