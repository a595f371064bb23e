"""A file that makes room for a new one is kept under a dated name; nothing is lost or half."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path

import pytest

from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.keeping import (
    HTML_COMMENT,
    YAML_COMMENT,
    keep_aside,
    sole_writer,
    write_new,
    write_sealed,
)

AT = datetime.datetime(2026, 11, 28, 7, 19, 55, tzinfo=datetime.UTC)


def test_the_second_name_has_the_date_and_both_have_the_content(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("old")
    kept = keep_aside(path, AT, "--flag")
    assert kept.name == "p-2026-11-28-071955.json"
    assert (kept.read_text(), path.read_text()) == ("old", "old")
    assert sorted(tmp_path.iterdir()) == [kept, path]


def test_a_name_that_another_content_has_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    for content in ("one", "two", "three", "two"):
        path.write_text(content)
        keep_aside(path, AT, "--flag")
    names = ("p-2026-11-28-071955.json", "p-2026-11-28-071955-2.json", "p-2026-11-28-071955-3.json")
    assert [(tmp_path / each).read_text() for each in names] == ["one", "two", "three"]
    assert len(list(tmp_path.iterdir())) == 4


def test_without_a_date_that_of_the_file_counts_and_a_link_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, link = folder / "p.json", tmp_path / "p.json"
    target.write_text("old")
    os.utime(target, (AT.timestamp(), AT.timestamp()))
    link.symlink_to(target)
    keep_aside(link, None, "--flag")
    assert (folder / "p-2026-11-28-071955.json").read_text() == "old"


def test_what_cannot_be_kept_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.mkdir()
    with pytest.raises(OutputError, match="^--flag: .* is not replaced, because it cannot be kept"):
        keep_aside(path, AT, "--flag")


def test_without_hard_links_the_file_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "p.json"
    path.write_text("old")
    assert keep_aside(path, AT, "--flag").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_that_was_just_taken_gets_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.link

    def link(temporary: Path, path: Path) -> None:
        if not path.exists():
            path.write_text("of another process")
        usual(temporary, path)

    path = tmp_path / "p.json"
    path.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        patched.setattr("itertools.count", lambda _: iter([2]))
        with pytest.raises((AssertionError, OutputError)):
            keep_aside(path, AT, "--flag")
    kept = keep_aside(path, AT, "--flag")
    assert (kept.name, kept.read_text()) == ("p-2026-11-28-071955-3.json", "old")


def test_writers_take_turns_and_a_missing_folder_stops_nobody(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with sole_writer(tmp_path / "p.json"):
            order.append("second")

    with sole_writer(tmp_path / "p.json"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    with sole_writer(tmp_path / "none" / "p.json"):
        pass


@pytest.mark.parametrize("comment", [YAML_COMMENT, HTML_COMMENT])
def test_what_is_as_it_was_written_makes_room(tmp_path: Path, comment: tuple[str, str]) -> None:
    path = tmp_path / "lora.yaml"
    path.touch()
    assert write_sealed(path, "rank: 8", "--flag", comment) is None
    assert path.read_text().startswith(f"rank: 8\n{comment[0]}made by pytest-yourai, sha256")
    assert write_sealed(path, "rank: 16\n", "--flag", comment) is None
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", ["learning_rate: 1e-4\n", "\udcff"])
def test_what_was_changed_by_hand_is_kept(tmp_path: Path, change: str) -> None:
    path = tmp_path / "lora.yaml"
    write_sealed(path, "rank: 8", "--flag", YAML_COMMENT)
    changed = path.read_text() + change
    path.write_bytes(changed.encode(errors="surrogateescape"))
    kept = write_sealed(path, "rank: 16", "--flag", YAML_COMMENT)
    assert kept is not None
    assert kept.read_bytes().decode(errors="surrogateescape") == changed
    assert path.read_text().startswith("rank: 16\n")


def test_a_link_to_a_missing_file_leads_to_the_new_one(tmp_path: Path) -> None:
    link = tmp_path / "lora.yaml"
    link.symlink_to(tmp_path / "new.yaml")
    assert write_sealed(link, "rank: 8", "--flag", YAML_COMMENT) is None
    assert (tmp_path / "new.yaml").exists()


def test_a_new_file_takes_no_name_of_another(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_new(path, "one", "--output")
    write_new(path, "one", "--output")
    with pytest.raises(OutputError, match=r"--output: .*x\.json is there already: name another"):
        write_new(path, "two", "--output")
    assert path.read_text() == "one"
    with pytest.raises(OutputError, match="--output: .*cannot be written"):
        write_new(tmp_path / "none" / "x.json", "one", "--output")
