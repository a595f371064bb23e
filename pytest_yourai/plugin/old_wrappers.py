"""Keeps interruptions out of the ends of old-style hook wrappers, such as pytest-timeout's.

pluggy makes a warning of what is raised there. Where warnings are errors the interruption would be
lost: the run would go on with a failed item, or end as an internal error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import pytest

from pytest_yourai.core.signals import INTERRUPTS, deferred

_Wrapper = Generator[None, object, object]

_inner = pytest.hookimpl(wrapper=True, trylast=True)

_outer = pytest.hookimpl(wrapper=True, tryfirst=True)


class Interruptions:
    """Lets pytest describe an interruption wherever it struck."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Python has no line number for some instructions, and pytest (9.2) fails on such an entry.
        excinfo.traceback = excinfo.traceback.filter(
            lambda entry: entry._rawentry.tb_lineno is not None  # noqa: SLF001 - lineno is a sum
        )


class Inside:
    """Holds signals back once what other wrappers surround has ended.

    Registered before ItemHooks, whose wrapper is within it.
    """

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()

    def _ended(self) -> _Wrapper:
        try:
            return (yield)
        finally:
            self._held.enter_context(deferred(INTERRUPTS))

    @_inner
    def pytest_runtest_protocol(self) -> _Wrapper:
        return (yield from self._ended())

    @_inner
    def pytest_runtest_setup(self) -> _Wrapper:
        return (yield from self._ended())

    @_inner
    def pytest_runtest_call(self) -> _Wrapper:
        return (yield from self._ended())

    @_inner
    def pytest_runtest_teardown(self) -> _Wrapper:
        return (yield from self._ended())

    @_inner
    def pytest_fixture_setup(self) -> _Wrapper:
        return (yield from self._ended())

    def let_go(self) -> None:
        """Let signals interrupt again; one that was held back does so now."""
        self._held.close()


class Outside:
    """Lets go when all wrappers have ended. Registered last."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def _ended(self) -> _Wrapper:
        try:
            return (yield)
        finally:
            self._inside.let_go()

    @_outer
    def pytest_runtest_protocol(self) -> _Wrapper:
        return (yield from self._ended())

    @_outer
    def pytest_runtest_setup(self) -> _Wrapper:
        return (yield from self._ended())

    @_outer
    def pytest_runtest_call(self) -> _Wrapper:
        return (yield from self._ended())

    @_outer
    def pytest_runtest_teardown(self) -> _Wrapper:
        return (yield from self._ended())

    @_outer
    def pytest_fixture_setup(self) -> _Wrapper:
        return (yield from self._ended())
