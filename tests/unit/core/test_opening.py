"""What another user has planted, and what nobody can read to its end, is not opened."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.core.errors import InputError
from pytest_yourai.core.files import scratch_folder, write_atomically
from pytest_yourai.core.opening import (
    open_regular,
    own_folder,
    read_own,
    read_regular,
    real_path,
)
from pytest_yourai.store.journal import Journal
from pytest_yourai.training.checkpoint import read_checkpoint
from pytest_yourai.training.metrics_file import METRICS_NAME, MetricsFile
from pytest_yourai.training.train import one_report
from pytest_yourai.worker.checkpoint_file import CHECKPOINT

ANOTHER = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of ours that nobody else may write to."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    path = folder / "precious"
    path.write_text("precious")
    path.chmod(0o600)
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A temporary folder that everyone may write to."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


def link(path: Path, precious: Path) -> None:
    path.symlink_to(precious)
    os.lchown(path, ANOTHER, ANOTHER)


def hard_link(path: Path, precious: Path) -> None:
    path.hardlink_to(precious)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)
    os.lchown(path, ANOTHER, ANOTHER)


def file(path: Path, _: Path) -> None:
    path.write_text("planted")
    path.chmod(0o666)
    os.lchown(path, ANOTHER, ANOTHER)


def folder_link(path: Path, precious: Path) -> None:
    path.symlink_to(precious.parent)
    os.lchown(path, ANOTHER, ANOTHER)


PLANTED = (link, hard_link, pipe, file, folder_link)

Plant = Callable[[Path, Path], None]


def write_journal(path: Path) -> None:
    Journal(path).write("benchmark_start")


def write_metrics(path: Path) -> None:
    MetricsFile(path, 0)


def resume_training(path: Path) -> None:
    read_checkpoint(path.parent)


def report_id(path: Path) -> None:
    one_report(path.parent, {}, is_new=False)


@needs_root
@pytest.mark.parametrize("in_a_folder_of_its_own", [False, True])
@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize(
    ("name", "opens"),
    [
        ("benchmark_log.jsonl", write_journal),
        (METRICS_NAME, write_metrics),
        (CHECKPOINT, resume_training),
        ("report_id.txt", report_id),
        ("profile.json", lambda path: write_atomically(path, "new", "--yourai-output")),
    ],
)
def test_what_another_user_planted_is_not_opened(
    shared: Path,
    precious: Path,
    name: str,
    opens: Callable[[Path], None],
    plant: Plant,
    *,
    in_a_folder_of_its_own: bool,
) -> None:
    folder = shared
    if in_a_folder_of_its_own:
        folder = shared / "theirs"
        folder.mkdir()
        folder.chmod(0o777)
        os.chown(folder, ANOTHER, ANOTHER)
    plant(folder / name, precious)
    try:
        opens(folder / name)
    except InputError as problem:
        assert name in str(problem)  # noqa: PT017 - to replace the name, not the file, is as good
    assert precious.read_text() == "precious"
    assert sorted(each.name for each in precious.parent.iterdir()) == ["precious"]
    assert precious.stat().st_mode & 0o777 == 0o600


@needs_root
@pytest.mark.parametrize("plant", PLANTED)
def test_temporary_folders_that_others_made_are_left_alone(
    shared: Path, precious: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    theirs = shared / "soak-theirs"
    theirs.mkdir()
    os.chown(theirs, ANOTHER, ANOTHER)
    plant(theirs / ".lock", precious)
    plant(shared / "soak-planted", precious)
    folder_link(shared / "soak-link", precious)
    (precious.parent / ".lock").touch()
    with scratch_folder("soak-") as own:
        assert Path(own).stat().st_mode & 0o777 == 0o700
    assert precious.read_text() == "precious"
    assert (precious.parent / ".lock").exists()
    assert len(list(shared.iterdir())) == 3


@needs_root
def test_a_folder_of_another_user_holds_no_cache(shared: Path, precious: Path) -> None:
    folder_link(shared / "linked", precious)
    (shared / "theirs").mkdir()
    os.chown(shared / "theirs", ANOTHER, ANOTHER)
    for name in ("linked", "theirs"):
        with pytest.raises(PermissionError):
            own_folder(shared / name)
    made = own_folder(shared / "new" / "deep")
    assert made.stat().st_mode & 0o777 == 0o700
    assert own_folder(made) == made


def test_ones_own_links_are_followed(shared: Path, precious: Path) -> None:
    (shared / "own").symlink_to(precious.parent)
    (shared / "log.jsonl").symlink_to("own/../home/new.jsonl")
    write_journal(shared / "log.jsonl")
    assert "benchmark_start" in (precious.parent / "new.jsonl").read_text()
    assert (shared / "log.jsonl").is_symlink()
    assert real_path(shared / "own" / ".." / "x") == real_path(precious.parent.parent / "x")
    assert read_own(shared / "own" / "precious") == b"precious"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/full"),
        os.mkfifo,
        os.mkdir,
    ],
    ids=("loop", "zero", "full", "pipe", "folder"),
)
def test_what_has_no_end_is_not_read_and_not_written(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "it"
    make(path)
    for opens in (
        read_regular,
        read_own,
        lambda path: open_regular(path, os.O_WRONLY | os.O_CREAT),
    ):
        with pytest.raises(OSError, match="loop|it is a folder|it is not a regular file|levels of"):
            opens(path)


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match="it has more than 1,000 bytes"):
        read_regular(path, 1000)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_pipe_that_the_shell_has_opened_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a" * 100)
    os.close(writing)
    try:
        assert read_regular(Path(f"/dev/fd/{reading}")) == b"a" * 100
    finally:
        os.close(reading)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_no_more_than_so_many_bytes_of_it_are_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a" * 100)
    try:
        with pytest.raises(OSError, match="it has more than 99 bytes"):
            read_regular(Path(f"/dev/fd/{reading}"), 99)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "read", [lambda path: os.close(open_regular(path, os.O_RDONLY)), read_regular]
)
def test_what_takes_the_place_of_a_file_while_it_is_opened_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    really_open = os.open

    def open_another(name: Path, *arguments: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return really_open(name, *arguments)

    monkeypatch.setattr(os, "open", open_another)
    with pytest.raises(OSError, match="it is not a regular file"):
        read(path)
