import errno
import fcntl
import json
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_yourai.core.errors import OutputError
from pytest_yourai.store.journal import Journal, TaggedLog

NOBODY = 1 << 22 | 1
"""No process has a number that high."""


@contextmanager
def files_of_at_most(count_bytes: int) -> Iterator[None]:
    """No file of this process grows further, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (count_bytes, usual[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, ignored)


def test_each_event_is_a_line_with_time_and_name(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.write("trial_start", batch_size=1)
    journal.write("trial_complete", text="a\nb", loss=float("nan"))
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["trial_start", "trial_complete"]
    assert lines[0]["timestamp"] > 1_600_000_000
    assert lines[1]["text"] == "a\nb"
    assert lines[1]["loss"] is None


def test_an_earlier_run_is_kept_and_its_torn_line_ended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "old"}\n{"event": "torn')
    journal = Journal(path)
    journal.write("new")
    journal.close()
    lines = path.read_text().splitlines()
    assert lines[:2] == ['{"event": "old"}', '{"event": "torn']
    assert json.loads(lines[2])["event"] == "new"


def test_a_second_sweep_is_refused_naming_the_first(tmp_path: Path) -> None:
    first = Journal(tmp_path / "log.jsonl")
    first.write("benchmark_start", pid=os.getpid())
    with pytest.raises(OutputError, match=rf"another sweep \(process {os.getpid()}\)"):
        Journal(tmp_path / "log.jsonl")
    first.close()
    Journal(tmp_path / "log.jsonl").close()


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"--yourai-log: .*absent/log\.jsonl cannot be written"):
        Journal(tmp_path / "absent" / "log.jsonl")
    for no_file in (tmp_path, Path("/dev/null")):
        with pytest.raises(OutputError, match="it is (a folder|not a regular file)"):
            Journal(no_file)


def test_a_disk_that_fills_up_stops_the_journal_but_not_the_sweep(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    with files_of_at_most(200):
        for number in range(5):
            journal.write("trial_complete", number=number, text="x" * 50)
    journal.close()
    assert journal.problem is not None
    assert "log.jsonl could not be written on" in journal.problem
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["number"] == 0


def test_a_torn_line_that_cannot_be_ended_is_an_error_that_frees_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "torn')
    with (
        files_of_at_most(path.stat().st_size),
        pytest.raises(
            OutputError, match=r"--yourai-log: .*log\.jsonl cannot be written on: .*room"
        ),
    ):
        Journal(path)
    assert path.read_text() == '{"event": "torn'
    Journal(path).close()


def replace(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.write_text("another file\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "was removed"),
        (lambda path: path.rename(path.with_name("moved")), "was moved"),
        (replace, "was moved, and another file has its name,"),
        (lambda path: os.truncate(path, 0), "was cut"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), "was cut"),
    ],
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_journal_that_is_not_where_it_was_says_so(
    tmp_path: Path, change: Callable[[Path], object], said: str, *, goes_on: bool
) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.write("trial_start")
    change(tmp_path / "log.jsonl")
    if goes_on:
        journal.write("trial_complete")
    journal.close()
    assert (journal.problem or "").endswith(f"log.jsonl {said} while the sweep ran")


def test_what_is_written_after_a_move_is_in_the_file_that_was_moved(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").rename(tmp_path / "moved")
    journal.write("trial_start")
    journal.write("trial_complete")
    journal.close()
    assert len((tmp_path / "moved").read_text().splitlines()) == 2


def test_secrets_are_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.write("benchmark_start", settings={"data": ["hf_" + "x" * 20]})
    journal.close()
    assert "hf_x" not in (tmp_path / "log.jsonl").read_text()


def test_a_holder_that_has_written_nothing_is_not_named(tmp_path: Path) -> None:
    first = Journal(tmp_path / "log.jsonl")
    with pytest.raises(OutputError, match="in use by another sweep: wait for it"):
        Journal(tmp_path / "log.jsonl")
    first.close()


def test_a_process_that_has_ended_is_not_named_as_the_holder(tmp_path: Path) -> None:
    first = Journal(tmp_path / "log.jsonl")
    first.write("benchmark_start", pid=NOBODY)
    with pytest.raises(OutputError, match="in use by another sweep: wait for it"):
        Journal(tmp_path / "log.jsonl")
    first.close()


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_written_on_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    journal = Journal(tmp_path / "log.jsonl")
    journal.write("benchmark_start")
    journal.close()
    assert journal.problem is None
    assert os.strerror(number) in (journal.note or "")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_where_it_is_locked_there_is_nothing_to_note(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.close()
    assert journal.note is None


def test_tags_are_added_to_each_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    log = TaggedLog(journal, run_id="r1")
    log.write("trial_start", batch_size=1)
    assert log.problem is None
    journal.close()
    event = json.loads((tmp_path / "log.jsonl").read_text())
    assert (event["event"], event["run_id"], event["batch_size"]) == ("trial_start", "r1", 1)


def test_without_a_journal_nothing_is_written() -> None:
    log = TaggedLog(run_id="r1")
    log.write("trial_start")
    assert log.problem is None


@pytest.mark.parametrize("last", ["torn {", '{"event": "trial_start", "pid": 7}', "[1]"])
def test_the_holder_is_found_before_lines_of_other_kinds(tmp_path: Path, last: str) -> None:
    first = Journal(tmp_path / "log.jsonl")
    first.write("training_start", pid=os.getpid())
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(f"{last}\n")
    with pytest.raises(OutputError, match=rf"another training \(process {os.getpid()}\)"):
        Journal(tmp_path / "log.jsonl", run="training")
    first.close()


def test_one_that_was_removed_while_it_was_opened_is_another_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    lock = fcntl.flock

    def after_its_removal(fd: int, operation: int) -> None:
        path.unlink()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", after_its_removal)
    with pytest.raises(OutputError, match="is in use by another sweep"):
        Journal(path)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize(("before", "after"), [(None, 0o600), (0o666, 0o600), (0o400, 0o400)])
def test_only_its_owner_may_read_it(
    tmp_path: Path, mask: int, before: int | None, after: int
) -> None:
    path = tmp_path / "log.jsonl"
    if before is not None:
        path.touch()
        path.chmod(before)
    usual = os.umask(mask)
    try:
        if before == after and os.geteuid():
            return  # root alone may write to it
        Journal(path).close()
    finally:
        os.umask(usual)
    assert stat.S_IMODE(path.stat().st_mode) == after
