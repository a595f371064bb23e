"""Disks that are full or read-only, a clock that is set back, two sweeps at once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_yourai.core.digest import with_digest
from pytest_yourai.core.files import check_writable, write_json
from pytest_yourai.store.profile import OUTPUT_FLAG

from support import faults
from support.faults import Judge, Judgement, processes_left
from support.processes import AtTrial, SweepRun, finish, outcomes, start_sweep, worker_pids


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, where this machine lets us mount one."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path, but_for: int) -> None:
    """Leave `but_for` bytes, in pages of 4 kB."""
    filler = disk / "filler"
    filler.write_bytes(b"")
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - but_for))


def test_a_disk_that_is_full_under_the_journal_loses_no_result(
    sweep: SweepRun, small_disk: Path, record_property: Callable[[str, object], None]
) -> None:
    fill(small_disk, but_for=4096)
    log = small_disk / "log.jsonl"
    done = sweep("--yourai-log", str(log))
    assert done.outcomes == ["ok", "ok", "ok"]
    done.stdout.fnmatch_lines(["The journal is incomplete: *log.jsonl could not be written on*"])
    whole = log.read_text().rpartition("\n")[0].splitlines()
    assert json.loads(whole[0])["event"] == "benchmark_start"
    faults.report(
        record_property,
        Judgement("full disk under the journal", done.ret == 0, 3 - len(done.rows), 0),
    )


class AtSecondTrial(AtTrial):
    """Does something to the journal."""

    def __init__(self, strike: Callable[[], object]) -> None:
        super().__init__(2)
        self._strike = strike

    def strike(self) -> None:
        self._strike()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.rename("moved.jsonl"), "was moved"),
        (lambda path: os.truncate(path, 10), "was cut"),
    ],
)
def test_a_journal_that_is_moved_or_cut_meanwhile_is_named_at_the_end(
    sweep: SweepRun,
    pytester: pytest.Pytester,
    record_property: Callable[[str, object], None],
    change: Callable[[Path], object],
    said: str,
) -> None:
    log = pytester.path / "benchmark_log.jsonl"
    done = sweep(plugins=(AtSecondTrial(lambda: change(log)),))
    done.stdout.fnmatch_lines([f"The journal is incomplete: *log.jsonl {said} while the sweep ran"])
    done.stdout.no_fnmatch_line("Journal: *")
    faults.report(
        record_property,
        Judgement(f"journal that {said}", done.outcomes == ["ok"] * 3, 3 - len(done.rows), 0),
    )


def test_a_resume_where_the_journal_cannot_be_ended_is_refused(
    sweep: SweepRun, small_disk: Path
) -> None:
    log = small_disk / "log.jsonl"
    log.write_bytes(b'{"event": "torn')
    fill(small_disk, but_for=0)
    log.write_bytes(log.read_bytes().ljust(4096, b" "))
    done = sweep("--yourai-resume", "--yourai-log", str(log))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "log.jsonl cannot be written on: No space left on device; make room" in done.errors


def test_a_disk_that_is_full_under_the_profile_leaves_the_journal(
    pytester: pytest.Pytester,
    sweep: SweepRun,
    small_disk: Path,
    record_property: Callable[[str, object], None],
) -> None:
    output = small_disk / "profile.json"
    output.write_text("an older one")
    fill(small_disk, but_for=0)
    done = sweep("--yourai-output", str(output))
    assert done.ret == 1
    done.stdout.fnmatch_lines(
        ["Not saved: --yourai-output: *profile.json is not replaced, *: No space left on device*"]
        + ["The journal has it all: *benchmark_log.jsonl"]
    )
    assert output.read_text() == "an older one"
    assert [path.name for path in small_disk.iterdir() if path.name.startswith(".")] == []
    known = [event["outcome"] for event in done.events("trial_complete")]
    faults.report(
        record_property,
        Judgement("full disk under the profile", known == ["ok"] * 3, 3 - len(known), 0),
    )


def test_a_read_only_folder_is_refused_before_anything_runs(
    sweep: SweepRun, small_disk: Path, record_property: Callable[[str, object], None]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for flag, name in (("--yourai-output", "p.json"), ("--yourai-log", "l.jsonl")):
        done = sweep(flag, str(small_disk / name))
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        right = f"{name} cannot be written: Read-only file system; name another file" in done.errors
        faults.report(record_property, Judgement("read-only folder", right, 0, 0))


def test_a_clock_that_is_set_back_changes_no_step_time_and_no_resume(
    sweep: SweepRun, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The parent's clock alone: the machine's own is not ours to set.
    real, started = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: 2 * started - real() - 86_400)
    done = sweep()
    judge("clock set back, and running backwards", done, ["ok", "ok", "ok"])
    stamps = [event["timestamp"] for event in done.journal]
    assert stamps == sorted(stamps, reverse=True)
    assert all(0 < step < 10 for row in done.rows for step in row["step_times_s"])
    again = sweep("--yourai-resume")
    assert [row["kept"] for row in again.rows] == [True] * 3


def test_of_two_sweeps_at_once_one_is_refused_naming_the_other(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with start_sweep(tmp_path) as one, start_sweep(tmp_path) as other:
        processes = [one, other]
        outputs = [finish(process) for process in processes]
    refused = next(i for i, each in enumerate(processes) if each.returncode)
    ran = processes[1 - refused]
    assert processes[refused].returncode == pytest.ExitCode.USAGE_ERROR
    assert ran.returncode == 0
    named = f"benchmark_log.jsonl is in use by another sweep (process {ran.pid})"
    faults.report(
        record_property,
        Judgement(
            "two sweeps in one folder",
            named in outputs[refused] and outcomes(tmp_path) == ["ok"] * 3,
            3 - len(outcomes(tmp_path)),
            processes_left(worker_pids(tmp_path)),
        ),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_whatever_lies_where_the_profile_goes_is_replaced(tmp_path: Path, earlier: bytes) -> None:
    path = tmp_path / "optimal_config.json"
    path.write_bytes(earlier)
    check_writable(path, OUTPUT_FLAG)
    assert path.read_bytes() == earlier
    write_json(path, {"schema_version": 1}, OUTPUT_FLAG)
    assert json.loads(path.read_text()) == with_digest({"schema_version": 1})
