"""Reads many files: without looking for cycles in them, and in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_File = TypeVar("_File")

_Content = TypeVar("_Content")

_WORTH_PROCESSES = 500
"""Files; fewer are read in the time that it takes to start another process."""

_AT_ONCE = 50


def read_each(
    read: Callable[[_File], _Content], files: Sequence[_File], processes: int
) -> Iterator[_Content]:
    """What `read`, a function of a module, makes of each of `files`, in their order."""
    if processes == 1 or len(files) < _WORTH_PROCESSES:
        with _without_collecting():
            yield from map(read, files)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, prepare_process) as pool:
        yield from pool.map(read, files, chunksize=_AT_ONCE)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Nothing that is read has cycles, and looking for them takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def prepare_process() -> None:
    """Leave it to the first process to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
