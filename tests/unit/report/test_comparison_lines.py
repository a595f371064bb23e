import re
from typing import Any

import pytest

from pytest_yourai.report.comparison_lines import comparison_lines, regression_lines
from pytest_yourai.store.compare.comparison import compare
from pytest_yourai.store.compare.thresholds import DEFAULT_THRESHOLDS, regressions

from support.profiles import failing, larger, slower, stored

WIDE = 300


def test_old_new_and_change_stand_beside_each_configuration() -> None:
    found = compare(stored(name="old.json"), stored(slower(1.5, 0), "new.json"))
    lines = list(comparison_lines(found, [], WIDE))
    assert lines[0] == "llama-8b: new.json compared with old.json of 2026-11-21 09:08 UTC"
    assert "  Largest: batch=4, rank=128, layers=32, as before" in lines
    [first] = [line for line in lines if "batch=1, rank=64, layers=16" in line]
    cells = first.split("  ")
    assert [each.strip() for each in cells if "+50.0 %" in each or "-33.3 %" in each] != []
    assert first.endswith("ok")
    assert len([line for line in lines if "batch=" in line]) == 13


def test_the_answer_is_the_one_that_a_sweep_names_first() -> None:
    def one_adapter(it: dict[str, Any]) -> None:
        sizes = ("lora_rank", "lora_layers")
        it["all_results"] = [
            each for each in it["all_results"] if [each[size] for size in sizes] == [64, 16]
        ]
        it |= {f"optimal_{size}": it["all_results"][-1][size] for size in ("batch_size", *sizes)}

    found = compare(stored(one_adapter), stored(one_adapter))
    [line] = [each for each in comparison_lines(found, [], WIDE) if each.endswith(", as before")]
    assert line.startswith("  Fastest: batch=")


def test_a_column_has_one_unit_and_precision() -> None:
    def change(it: dict[str, Any]) -> None:
        it["all_results"][0].update(minimum_memory_bytes=900_000_000)

    lines = list(comparison_lines(compare(stored(), stored(change)), [], WIDE))
    [first] = [line for line in lines if "batch=1, rank=64, layers=16" in line]
    assert re.findall(r"[\d,.]+ MB", first)[:2] == ["6,903.8 MB", "900.0 MB"]
    rows = [line for line in lines if "batch=" in line and line.startswith("  batch")]
    assert all(len(re.findall(r"[\d,.]+ MB", line)) == 2 for line in rows)


def test_a_narrow_terminal_gets_a_block_for_each() -> None:
    found = compare(stored(), stored(larger(1.1, 0)))
    lines = list(comparison_lines(found, [], 60))
    block = lines.index("  batch=1, rank=64, layers=16: ok")
    assert lines[block + 1].split() == ["needs", "6.9", "GB", "→", "7.6", "GB", "+10.0", "%"]
    assert max(map(len, lines[block:])) <= 60


@pytest.mark.parametrize("width", [WIDE, 60])
def test_what_changed_its_outcome_says_so(width: int) -> None:
    new = stored(failing(1, "oom", minimum_memory_bytes=None, peak_memory_bytes=None))
    found = compare(stored(), new)
    text = "\n".join(comparison_lines(found, [], width))
    assert "ok → oom" in text


def test_one_sided_configurations_are_named_as_such() -> None:
    found = compare(
        stored(lambda it: it["all_results"].pop(0)), stored(lambda it: it["all_results"].pop(1))
    )
    text = "\n".join(comparison_lines(found, [], WIDE))
    assert text.count("new: ok") == 1
    assert text.count("ok → not tried") == 1


def test_two_machines_are_labelled() -> None:
    other = stored(lambda it: it["environment"].update(chip="Apple M9"))
    lines = list(comparison_lines(compare(stored(), other), ["and a note"], WIDE))
    assert lines[0].endswith("(two machines)")
    assert lines[1].startswith("  Note: two machines: chip ")
    assert lines[1].endswith("now Apple M9")
    assert lines[2] == "  Note: and a note"


def test_a_regression_has_a_line() -> None:
    found = regressions(compare(stored(), stored(larger(1.1, 0, 1))), DEFAULT_THRESHOLDS)
    lines = list(regression_lines(found, str(DEFAULT_THRESHOLDS)))
    assert lines[0] == ("2 regressions (minimum_memory:5%, mean_step_time:10%, step_time:25%):")
    assert [line.startswith("  REGRESSION batch=") for line in lines[1:]] == [True, True]
    assert list(regression_lines([], "step_time:1%")) == ["No regression (step_time:1%)"]


def test_peaks_are_not_shown_as_minima() -> None:
    peaks = stored(lambda it: it["settings"].update(peaks_stand_in_for_minima=True))
    lines = list(comparison_lines(compare(peaks, stored()), [], WIDE))
    [first] = [line for line in lines if "batch=1, rank=64, layers=16" in line]
    assert re.search(r"layers=16 +– +6\.9 GB +– +10\.6 GB +10\.6 GB ", first), first


def test_a_change_within_noise_says_so_in_its_row() -> None:
    old, new = stored(), stored(slower(1.001, 1))
    # The steps of these rows spread by 0.2 to 1.2 %.
    rows = [line for line in comparison_lines(compare(old, new), [], WIDE) if "batch=" in line]
    assert [line.endswith("ok, time within noise") for line in rows[1:]].count(True) == 1
    assert "120ms ± 1.2 %" in rows[1]
    grown = stored(slower(1.5, 0))
    assert not any(
        "within noise" in line for line in comparison_lines(compare(old, grown), [], WIDE)
    )
