"""Says which fixture of the project kept a packaged test from running, and how to leave it out."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_yourai.core.paths import SUITE_NODE_IDS

WHAT_TO_DO = "what to do"
"""The title of the section with the remedy."""


class FailedFixtures:
    """Registered where items run."""

    def __init__(self) -> None:
        self._failed: dict[int, str] = {}
        """Names of fixtures by the identities of what they raised, which pytest keeps."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        try:
            return (yield)
        except BaseException as problem:
            self._failed.setdefault(id(problem), fixturedef.argname)
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "setup" and call.excinfo is not None and item.path in SUITE_NODE_IDS:
            problem = call.excinfo.value
            name = self._failed.get(id(problem)) or getattr(problem, "argname", None)
            if name is not None:
                _add(report, _remedy(name))
        return report


def _remedy(name: str) -> str:
    return (
        f"the project's fixture {name} is for every test, the packaged one too: leave it out with "
        "--noconftest, or -o usefixtures= where the ini file names it, or use the yourai command"
    )


def _add(report: pytest.TestReport, remedy: str) -> None:
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, f"{reason}; {remedy}")
    else:
        report.sections.append((WHAT_TO_DO, remedy))
