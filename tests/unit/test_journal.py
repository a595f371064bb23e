import json
import os
from pathlib import Path

import pytest

from pytest_yourai.errors import OutputError
from pytest_yourai.store.journal import Journal


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
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path)
