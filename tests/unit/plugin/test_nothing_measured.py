"""Why a run measured nothing, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_yourai.plugin.nothing_measured import NothingMeasured


def said(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], *deselected: Any) -> str:
    found = NothingMeasured(pytester.parseconfigure())
    next(found.pytest_runtestloop())
    found.pytest_deselected(deselected)
    capsys.readouterr()
    found.pytest_terminal_summary(pytest.ExitCode.NO_TESTS_COLLECTED)
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("count", "who"),
    [
        (1, "the one configuration was"),
        (2, "both configurations were"),
        (3, "all 3 configurations were"),
        (1200, "all 1,200 configurations were"),
    ],
)
def test_what_was_deselected_is_counted(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], count: int, who: str
) -> None:
    # As pytest-testmon hands over what it leaves out: no items.
    assert said(pytester, capsys, *[SimpleNamespace()] * count) == (
        f"Nothing was measured: {who} deselected: change -k, -m, --deselect or --lf, or the plugin "
        "or conftest.py that did it; addopts in the ini file count, too"
    )


def test_tests_of_the_project_are_not_counted(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    [item] = pytester.getitems("def test_mine(): pass")
    for found in (said(pytester, capsys), said(pytester, capsys, item)):
        assert found == (
            "Nothing was measured: no configuration was collected: leave out the paths, --ignore "
            "or collect_ignore that hide the packaged test"
        )
