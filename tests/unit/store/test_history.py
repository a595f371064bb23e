"""What is read back from a journal, whatever happened to it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.outcomes import Outcome, Overdue, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.history import read_history
from pytest_yourai.store.journal import Journal
from pytest_yourai.store.rows import TrialRow

from support.texts import SHORT_TEXTS

CONFIGS = [LoraConfig(batch, 8, 4, 64) for batch in (1, 2, 4)]

OK = TrialResult(
    "tiny",
    CONFIGS[0],
    Outcome.OK,
    step_times_s=(0.1, 0.2),
    step_tokens=(63, 63),
    minimum_memory_bytes=10,
    peak_memory_bytes=20,
    memory_limit_bytes=10**9,
)

FULL = TrialResult(
    model="tiny",
    config=LoraConfig(2, 16, 8, 512, grad_checkpoint=True),
    outcome=Outcome.PAGING,
    reason="swap grew; much",
    remedy="close programs",
    warnings=("the footprint grew",),
    warmup_step_times_s=(1.5, 0.1),
    step_times_s=(0.1, 0.25),
    step_tokens=(63, 64),
    loss=5.5,
    epoch_time_s=7200.5,
    minimum_memory_bytes=1,
    peak_memory_bytes=2,
    active_memory_bytes=3,
    cache_memory_bytes=4,
    footprint_bytes=5,
    swap_growth_bytes=6,
    active_growth_bytes_per_step=64.0,
    footprint_growth_bytes_per_step=-128.0,
    load_time_s=41.5,
    compile_time_s=332.0,
    memory_limit_bytes=10**9,
)

SKIPPED = TrialResult(
    "tiny",
    CONFIGS[0],
    Outcome.SKIPPED,
    "predicted over the budget of 1 GB",
    "add --yourai-force to run it",
    SkipReason.PREDICTED_OVER_BUDGET,
    started=False,
    memory_limit_bytes=10**9,
)


def row_of(result: TrialResult) -> dict[str, Any]:
    row: dict[str, Any] = TrialRow.from_result(result).as_json()
    return row


@pytest.mark.parametrize(
    "result",
    [
        OK,
        FULL,
        SKIPPED,
        TrialResult("tiny", CONFIGS[0], Outcome.CRASHED, memory_limit_bytes=10**9),
        TrialResult(
            "tiny",
            CONFIGS[0],
            Outcome.TIMEOUT,
            overdue=Overdue.COMPILE,
            memory_limit_bytes=10**9,
        ),
    ],
)
def test_a_row_gives_back_its_result(result: TrialResult) -> None:
    written = json.loads(json.dumps(row_of(result)))
    assert TrialRow.model_validate(written).to_result("tiny", 10**9) == result


def test_a_row_has_the_remedy_by_itself_and_in_its_error() -> None:
    row = row_of(FULL)
    assert row["error"] == "swap grew; much; close programs"
    assert row["remedy"] == "close programs"


def test_a_row_written_before_remedies_and_rules_is_still_read() -> None:
    row = row_of(SKIPPED)
    del row["remedy"], row["skip_reason"]
    result = TrialRow.model_validate(row).to_result("tiny", 10**9)
    assert result.skip_reason is SkipReason.PREDICTED_OVER_BUDGET
    assert result.error == SKIPPED.error


@pytest.mark.parametrize(
    "change",
    [
        {"minimum_memory_bytes": 10**400},
        {"minimum_memory_bytes": -1},
        {"minimum_memory_bytes": None},
        {"peak_memory_bytes": None},
        {"step_times_s": []},
        {"step_times_s": [0.0, 0.1]},
        {"step_times_s": [-1, 0.1]},
        {"step_times_s": [math.nan]},
        {"step_tokens": [-5]},
        {"loss": math.inf},
        {"batch_size": 0},
        {"outcome": "fine"},
        {"started": 1},
    ],
)
def test_a_row_of_a_trial_that_cannot_be_is_none(change: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        TrialRow.model_validate({**row_of(OK), **change})


def write_run(
    path: Path, run_id: str = "r", *, complete: bool = True, unfinished: bool = False
) -> None:
    journal = Journal(path)
    run = {"run_id": run_id}
    journal.write("benchmark_start", **run, boot_id="b", identity={"model": "tiny"})
    budget = {"memory_limit_bytes": 10**9, "memory_limit_is_detected": True}
    journal.write("model_start", **run, **budget, device={"backend": "cpu"})
    for config in CONFIGS:
        names = {"batch_size": config.batch_size, "lora_rank": 8, "lora_layers": 4}
        names |= {"max_seq_length": 64, "grad_checkpoint": False}
        journal.write("trial_start", **run, **names)
        if unfinished and config == CONFIGS[-1]:
            break
        journal.write(
            "trial_complete",
            **run,
            **row_of(dataclasses.replace(OK, config=config)),
        )
    if complete:
        journal.write("benchmark_complete", **run, complete=True)
    journal.close()


def test_a_run_whose_first_line_is_lost_is_not_part_of_the_run_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path, "first")
    before = len(path.read_bytes().splitlines())
    write_run(path, "second")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[before] = lines[before][:30] + b"\n"
    path.write_bytes(b"".join(lines))
    history = read_history(path)
    assert len(history.runs) == 1
    assert history.unreadable_lines == 1


def write_run_with_facts(path: Path) -> None:
    write_run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    facts = {**json.loads(lines[0]), **json.loads(lines[1]), "event": "run_facts"}
    path.write_bytes(b"".join([*lines[:2], json.dumps(facts).encode() + b"\n", *lines[2:]]))


@pytest.mark.parametrize("lost", range(3))
def test_one_lost_line_at_the_beginning_of_a_run_loses_no_result(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "log.jsonl"
    write_run_with_facts(path)
    [whole] = read_history(path).runs
    lines = path.read_bytes().splitlines(keepends=True)
    lines[lost] = b"\x00" + lines[lost]
    path.write_bytes(b"".join(lines))
    history = read_history(path)
    assert history.runs == (whole,)
    assert len(whole.results) == len(CONFIGS)
    assert history.unreadable_lines == 1


def test_events_that_say_nothing_of_results_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path)
    journal = Journal(path)
    journal.write("subprocess_spawned", run_id="r", pid=1)
    journal.close()
    history = read_history(path)
    assert (len(history.runs), history.unreadable_lines) == (1, 0)


def test_runs_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path)
    write_run(path, "s", complete=False, unfinished=True)
    history = read_history(path)
    assert (history.name, history.unreadable_lines) == ("log.jsonl", 0)
    first, second = history.runs
    assert list(first.results) == CONFIGS
    assert first.unfinished is None
    assert list(second.results) == CONFIGS[:2]
    assert second.unfinished == CONFIGS[2]
    assert second.budget_bytes == 10**9
    assert dict(second.device) == {"backend": "cpu"}


def test_a_run_that_ended_in_order_has_nothing_unfinished(tmp_path: Path) -> None:
    write_run(tmp_path / "log.jsonl", unfinished=True)
    assert read_history(tmp_path / "log.jsonl").runs[0].unfinished is None


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read_history(tmp_path / "absent").runs == ()


def test_a_write_torn_anywhere_loses_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path)
    data = path.read_bytes()
    torn = tmp_path / "torn.jsonl"
    ends = [place for place, byte in enumerate(data, 1) if byte == ord("\n")]
    near_ends = {end + offset for end in [0, *ends] for offset in range(-4, 5)}
    for length in sorted({*range(0, len(data), 23), *near_ends} & set(range(len(data) + 1))):
        whole_lines = data[:length].count(b"\n")
        torn.write_bytes(data[:length])
        history = read_history(torn)
        results = sum(len(run.results) for run in history.runs)
        # A line that lacks nothing but its end is whole.
        lines = data[:length].splitlines()
        is_whole = len(lines) > whole_lines and lines[-1] == data.splitlines()[whole_lines]
        events = [json.loads(line)["event"] for line in lines[: whole_lines + is_whole]]
        assert results == events.count("trial_complete")
        assert history.unreadable_lines == len(lines) - whole_lines - is_whole <= 1


def test_after_a_torn_line_the_next_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path)
    path.write_bytes(path.read_bytes()[:-20])
    write_run(path, "s")
    history = read_history(path)
    assert len(history.runs) == 2
    assert history.unreadable_lines == 1
    assert len(history.runs[1].results) == 3


def test_a_clock_that_was_set_back_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_run(path)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for age, event in enumerate(events):
        event["timestamp"] -= 10**6 * age
        del event["crc32"]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert list(read_history(path).runs[0].results) == CONFIGS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SHORT_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT_TEXTS, inner),
    max_leaves=8,
)
EVENTS = st.sampled_from(
    ["benchmark_start", "model_start", "trial_start", "trial_complete", "benchmark_complete"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=8))
@example([b"[" * 5000, b'{"event": "trial_complete", "batch_size": 1e999}', b"\xff\xfe\x00"])
def test_any_bytes_are_read_past(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert read_history(path).unreadable_lines >= 0


@pytest.mark.repeats
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    EVENTS,
    st.dictionaries(
        st.sampled_from(
            [
                *row_of(FULL),
                "identity",
                "device",
                "memory_limit_bytes",
                "timestamp",
            ]
        ),
        JSON,
    ),
)
def test_our_own_events_with_any_values_are_read_past(
    tmp_path: Path, event: str, changes: dict[str, Any]
) -> None:
    path, run = tmp_path / "fuzz.jsonl", tmp_path / "run.jsonl"
    if not run.exists():
        write_run(run)
    base = {
        "event": event,
        "model": "tiny",
        "timestamp": 1.0,
        "run_id": "r",
        **row_of(FULL),
    }
    path.write_text(run.read_text() + json.dumps({**base, **changes}) + "\n")
    assert len(read_history(path).runs) == 1


def test_a_journal_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"--yourai-log: {tmp_path} cannot be read"):
        read_history(tmp_path)
