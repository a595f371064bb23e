"""The folder that a training run writes into, kept from other runs while it lasts."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.errors import BackendError, InputError, OutputError, WorkerLostError
from pytest_yourai.core.files import TEMPORARY_PREFIX
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.checkpoint import LOG, REPORT_ID
from pytest_yourai.training.metrics_file import METRICS_NAME
from pytest_yourai.worker.checkpoint_file import ADAPTER_CONFIG

_WRITTEN = (LOG, REPORT_ID, METRICS_NAME, ADAPTER_CONFIG)
"""Files of a run that has not trained yet."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Journal]:
    """The journal in that folder, whose lock refuses every other run.

    Taken before the checkpoint is read, so that nobody goes on from it meanwhile. A run that is
    refused leaves nothing new behind, unless its worker failed, of which the journal tells.
    """
    check_folder(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    new = [path for name in _WRITTEN if not os.path.lexists(path := folder / name)]
    try:
        journal = Journal(folder / LOG, "--adapter-path", "training run")
        try:
            yield journal
        except (BackendError, WorkerLostError):
            raise
        except InputError:
            for path in new:
                path.unlink(missing_ok=True)
            raise
        finally:
            journal.close(keep_empty=False)
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def make_mark(folder: Path) -> str:
    """The name of a new file, by which a process elsewhere knows that it sees this very folder.

    Training removes it. OutputError where the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)
    except OSError as problem:
        raise _unwritable(folder, problem) from None
    os.close(handle)
    return Path(name).name


def check_folder(path: Path) -> None:
    """OutputError if no files can be written into that folder; it need not exist."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise OutputError(f"--adapter-path: {there} is not a folder: name another")
    try:
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=there):
            pass
    except OSError as problem:
        raise _unwritable(path, problem) from None


def _unwritable(path: Path, problem: OSError) -> OutputError:
    return OutputError(
        f"--adapter-path: {path} cannot be written: {problem.strerror}; name another"
    )
