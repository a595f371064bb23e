"""pytest-timeout's limit of an item, which stands still while its trial compiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_yourai.sweep.trial_progress import TrialProgress

_SETTINGS: pytest.StashKey[Any] = pytest.StashKey()


class ItemTimer:
    """Registered where items run. The limit of an item counts from the end of each compilation.

    By pytest-timeout's own hooks: whatever set the limit, and by whatever method it is held.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._hooks = config.hook
        self._item: pytest.Item | None = None
        self._stands_still = False

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        # Nothing is returned, so that pytest-timeout, or who takes its place, sets it.
        item.stash[_SETTINGS] = settings

    @contextlib.contextmanager
    def of(self, item: pytest.Item) -> Iterator[None]:
        """Hold the limit of `item` while its trial compiles; it counts however that ends."""
        self._item = item if _SETTINGS in item.stash else None
        try:
            yield
        finally:
            self._go_on()
            self._item = None

    def follow(self, progress: TrialProgress) -> None:
        """Take in the progress of the item's trial."""
        if self._item is None or progress.compiling_s is None:
            self._go_on()
        elif not self._stands_still:
            self._hooks.pytest_timeout_cancel_timer(item=self._item)
            self._stands_still = True

    def _go_on(self) -> None:
        if self._item is not None and self._stands_still:
            self._stands_still = False
            self._hooks.pytest_timeout_set_timer(
                item=self._item, settings=self._item.stash[_SETTINGS]
            )
