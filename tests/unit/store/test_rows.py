import csv
import io
import json
from pathlib import Path
from typing import Any

from pytest_yourai.report.export import as_csv, as_json, as_jsonl, flat_rows
from pytest_yourai.store.profile_reader import profiles_in, read_profiles

DATA = Path(__file__).parents[2] / "data"
QUICK = DATA / "h200_llama8b_quick.json"
WALK = DATA / "h200_benchmark_24gb.json"


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(QUICK.read_text(encoding="utf-8"))
    return found


def test_a_row_is_that_of_the_profile_with_its_model() -> None:
    rows = flat_rows(read_profiles(QUICK), with_profile=False)
    for found, stored in zip(rows, document()["all_results"], strict=True):
        assert found.items() >= stored.items()
        assert list(found)[:2] == ["model", "optimal"]
    assert [each["throughput_score"] for each in rows if each["optimal"]] == [16384]


def test_rows_of_several_files_name_theirs_and_have_the_same_keys() -> None:
    profiles = [*read_profiles(QUICK), *read_profiles(WALK)]
    rows = flat_rows(profiles, with_profile=True)
    assert len({tuple(each) for each in rows}) == 1
    assert [each["profile"] for each in rows] == [str(QUICK)] * 12 + [str(WALK)] * 5
    assert rows[-1]["model"] == "hermes-70b"


def test_what_stands_in_for_minima_is_not_given_out_as_one() -> None:
    row = {"batch_size": 1, "lora_rank": 8, "lora_layers": 4, "success": True, "error": None}
    measured = {"peak_memory_mb": 100.0, "step_time_ms": 10.0}
    profiles = profiles_in({"model": "m", "all_results": [row | measured]}, "p.json")
    [found] = flat_rows(profiles, with_profile=False)
    assert found["peak_memory_mb"] == 100.0
    assert found["minimum_memory_mb"] is found["minimum_memory_bytes"] is None
    assert found["safe_memory_mb"] is None


def test_json_and_json_lines_have_the_same_rows() -> None:
    rows = flat_rows(read_profiles(QUICK), with_profile=False)
    assert json.loads(as_json(rows)) == rows
    assert [json.loads(line) for line in as_jsonl(rows).splitlines()] == rows


def test_csv_can_be_read_again() -> None:
    changed = document()
    changed["all_results"][1].update(
        outcome="error", success=False, error='said "no, never"; twice', warnings=["a", "b, c"]
    )
    rows = flat_rows(profiles_in(changed, "p.json"), with_profile=False)
    text = as_csv(rows)
    assert text.count("\r\n") == text.count("\n") == 13
    found = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert list(found[0]) == list(rows[0])
    first, second = found[0], found[1]
    assert first["error"] == ""
    assert (first["success"], second["success"]) == ("true", "false")
    assert float(first["step_time_ms"]) == 119.5464
    assert [float(each) for each in first["step_times_s"].split(";")] == rows[0]["step_times_s"]
    assert second["error"] == 'said "no, never"; twice'
    assert second["warnings"] == "a;b, c"


def test_an_object_in_a_cell_of_csv_is_json() -> None:
    power = {"start": {}, "worst": {"thermal": "serious"}, "end": {}}
    changed = document()
    changed["all_results"][0]["power"] = power
    rows = flat_rows(profiles_in(changed, "p.json"), with_profile=False)
    first = next(csv.DictReader(io.StringIO(as_csv(rows), newline=""), strict=True))
    assert json.loads(first["power"])["worst"]["thermal"] == "serious"


def test_no_cell_of_csv_is_a_formula() -> None:
    changed = document()
    changed["model"] = "=1+1"
    changed["all_results"][0].update(
        outcome="error", success=False, error="@SUM(A1)", warnings=["\t+cmd|' /C calc'!A0"]
    )
    changed["all_results"][0]["active_growth_mb_per_step"] = -0.5
    first = next(
        csv.DictReader(
            io.StringIO(as_csv(flat_rows(profiles_in(changed, "p"), with_profile=False)))
        )
    )
    assert first["model"] == "'=1+1"
    assert first["error"] == "'@SUM(A1)"
    assert first["warnings"] == "'\t+cmd|' /C calc'!A0"
    assert first["active_growth_mb_per_step"] == "-0.5"
