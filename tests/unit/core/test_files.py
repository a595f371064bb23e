import os
import stat
import tempfile
from pathlib import Path

import pytest

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import check_writable, keep_private, scratch_folder, write_atomically


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    write_atomically(path, "old", "--flag")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udc80", "--flag")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_on_the_disk_before_its_name_and_that_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []

    def fsync(fd: int) -> None:
        there = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
        flushed.append((os.fstat(fd).st_ino, there))

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "p.txt"
    write_atomically(path, "new", "--flag")
    (first, before), (second, after) = flushed
    assert path.name not in before
    assert after == {path.name: first}
    assert second == tmp_path.stat().st_ino


def test_a_link_is_followed_and_the_mode_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_atomically(link, "new", "--flag")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_temporary_folder_goes_at_its_end_and_one_without_an_owner_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "soak-left").mkdir()
    (tmp_path / "soak-left" / ".lock").touch()
    with scratch_folder("soak-") as first, scratch_folder("soak-") as second:
        assert {each.name for each in tmp_path.iterdir()} == {Path(first).name, Path(second).name}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_a_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--flag: .* is not a regular file"):
        check_writable(tmp_path, "--flag")


def test_unwritable_places_are_found_before() -> None:
    with pytest.raises(OutputError, match="^--flag: /proc/p.json cannot be written"):
        check_writable(Path("/proc/p.json"), "--flag")
    for no_file in ("/", "/dev/null"):
        with pytest.raises(OutputError, match="^--flag: .* is not a regular file"):
            check_writable(Path(no_file), "--flag")
    with pytest.raises(OutputError, match="^--flag: /proc/p.json cannot be written"):
        write_atomically(Path("/proc/p.json"), "", "--flag")


def test_checking_a_writable_place_leaves_it_as_it_was(tmp_path: Path) -> None:
    old = tmp_path / "old.txt"
    old.write_text("old")
    check_writable(old, "--flag")
    check_writable(tmp_path / "new.txt", "--flag")
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400), (0o000, 0o600)]
)
def test_a_private_file_is_its_owners(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("a") as file:
        path.chmod(before)
        keep_private(file.fileno())
    assert stat.S_IMODE(path.stat().st_mode) == after
