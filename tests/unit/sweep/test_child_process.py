"""The plugin that ends the pytest of a sweep with its parent."""

from __future__ import annotations

from pytest_yourai.sweep import child_process


def test_pytest_takes_nothing_else_in_it_for_a_hook() -> None:
    assert [name for name in vars(child_process) if name.startswith("pytest_")] == [
        "pytest_configure"
    ]
