"""The plugin may be named as well as installed."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "conftest"),
    [
        (("-p", "pytest_yourai.plugin"), ""),
        (("-p", "yourai"), ""),
        ((), "pytest_plugins = ['pytest_yourai.plugin']"),
        (("-p", "pytest_yourai.plugin"), "pytest_plugins = ['pytest_yourai.plugin']"),
    ],
)
def test_it_is_one_plugin_however_often_it_is_named(
    pytester: pytest.Pytester, arguments: tuple[str, ...], conftest: str
) -> None:
    pytester.makeconftest(conftest)
    done = pytester.runpytest_inprocess(*arguments, "--markers")
    assert done.ret == 0
    assert done.stdout.str().count("@pytest.mark.lora(") == 1


def test_it_can_be_left_out(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess("-p", "no:yourai", "--markers")
    assert "pytest.mark.lora(" not in done.stdout.str()
