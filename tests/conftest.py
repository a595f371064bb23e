"""Fixtures of every tier, and the settings of Hypothesis."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import pytest_yourai

from support.cgroups import made_cgroup
from support.hub import hub_cache
from support.known_packages import remember_packages

__all__ = ["hub_cache"]

try:
    from hypothesis import settings
except ModuleNotFoundError:
    # A sweep from the checkout loads this file too, and needs no tools of the tests.
    pass
else:
    # Machines are shared: an example may take long for no reason of its own.
    settings.register_profile("thorough", deadline=None)
    settings.register_profile("quick", deadline=None, max_examples=30)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-engine",
        action="store_true",
        help="let MLX train in every worker, also where a scripted engine would do",
    )


def pytest_configure() -> None:
    # A background job ignores Ctrl-C, and one under nohup SIGHUP; so would all that it starts.
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # pytest-xdist 3.8 writes the group of a test where pytest 9.2 looks no more, and splits all.
    for item in items:
        if grouped := vars(item).get("_nodeid"):
            item._id = type(item.id).parse(grouped)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    # With coverage they take three times as long.
    repeats = item.get_closest_marker("repeats") and "coverage" in sys.modules
    measuring = sys.modules["coverage"].Coverage.current() if repeats else None
    if measuring is None:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


@functools.cache
def _import_once() -> None:
    for module in pkgutil.walk_packages(pytest_yourai.__path__, "pytest_yourai."):
        if not any(part in module.name for part in ("worker.engine", "suite", "__main__")):
            importlib.import_module(module.name)
    for name in ("_snapshot_download", "hf_api"):
        importlib.import_module(f"huggingface_hub.{name}")
    remember_packages()
    # pytest collects garbage as each run ends, and need not look at all modules for it.
    gc.freeze()


@pytest.fixture(autouse=True)
def _modules_stay(request: pytest.FixtureRequest) -> None:
    """pytester takes out of sys.modules what a run in this process imports, for each run anew."""
    if "pytester" in request.fixturenames:
        _import_once()


@pytest.fixture(autouse=True)
def _own_session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test runs takes itself for no part of a job on GitHub, nor of xdist's worker."""
    for name in ("GITHUB_STEP_SUMMARY", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # It would unset PYTEST_ADDOPTS.
    # Hundreds of them start, and the plugins of others take most of a start of pytest.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:anyio")


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    with made_cgroup() as folder:
        yield folder
