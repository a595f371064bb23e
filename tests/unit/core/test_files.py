from pathlib import Path

import pytest

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import check_writable, write_atomically


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    write_atomically(path, "old", "--flag")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udc80", "--flag")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_the_mode_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_atomically(link, "new", "--flag")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_unwritable_places_are_found_before() -> None:
    with pytest.raises(OutputError, match="^--flag: /proc/p.json cannot be written"):
        check_writable(Path("/proc/p.json"), "--flag")
    for no_file in ("/", "/dev/null"):
        with pytest.raises(OutputError, match="^--flag: .* is not a regular file"):
            check_writable(Path(no_file), "--flag")
    with pytest.raises(OutputError, match="^--flag: /proc/p.json cannot be written"):
        write_atomically(Path("/proc/p.json"), "", "--flag")
