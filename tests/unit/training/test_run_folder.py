"""The folder of a training run: found writable, locked, and left as it was by a run that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.errors import (
    CheckpointError,
    DataError,
    InputError,
    OutputError,
    WorkerLostError,
)
from pytest_yourai.training.checkpoint import LOG
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.run_folder import locked, make_mark
from pytest_yourai.worker.checkpoint_file import ADAPTER_CONFIG

from support.training import asked, saved


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (Path("/proc/adapters"), "--adapter-path: /proc/adapters cannot be written"),
        (Path(__file__), "test_run_folder.py is not a folder: name another"),
        (Path(__file__) / "in", "test_run_folder.py is not a folder: name another"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused(path: Path, message: str) -> None:
    with pytest.raises(OutputError, match=message), locked(path):
        pass


def test_a_second_run_is_refused_before_it_reads_the_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    second = locked(folder)
    with locked(folder), pytest.raises(OutputError, match="is in use by another training run"):
        second.__enter__()
    with locked(folder):
        pass


def test_a_run_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "adapters"
    options = asked(tmp_path, adapter_path=folder, resume=True)
    with pytest.raises(CheckpointError, match="has no checkpoint"), locked(folder):
        train_settings(options, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def run_until(problem: InputError, folder: Path) -> None:
    with locked(folder) as journal:
        journal.write("subprocess_start")
        (folder / ADAPTER_CONFIG).write_text("{}")
        raise problem


@pytest.mark.parametrize("problem", [DataError("no rows"), WorkerLostError("it died")])
def test_a_run_that_its_worker_refuses_leaves_nothing_unless_the_worker_failed(
    tmp_path: Path, problem: InputError
) -> None:
    folder = tmp_path / "adapters"
    for _ in range(2):
        with pytest.raises(type(problem)):
            run_until(problem, folder)
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert found == ({LOG, ADAPTER_CONFIG} if isinstance(problem, WorkerLostError) else set())


def test_a_refused_run_leaves_the_files_of_the_run_before(tmp_path: Path) -> None:
    (tmp_path / ADAPTER_CONFIG).write_text("before")
    (tmp_path / LOG).write_text("{}\n")
    with pytest.raises(DataError):
        run_until(DataError("no rows"), tmp_path)
    assert (tmp_path / ADAPTER_CONFIG).read_text() == "{}"
    assert "subprocess_start" in (tmp_path / LOG).read_text()


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with locked(tmp_path) as journal:
        journal.write("training_start")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", LOG]


def test_a_mark_is_a_new_file_of_the_folder(tmp_path: Path) -> None:
    first, second = make_mark(tmp_path), make_mark(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {first, second}
    with pytest.raises(OutputError, match="missing cannot be written: No such file"):
        make_mark(tmp_path / "missing")
