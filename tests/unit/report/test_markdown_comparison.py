from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_yourai.report.markdown import comparison_section, markdown
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.compare.comparison import compare_all
from pytest_yourai.store.compare.thresholds import DEFAULT_THRESHOLDS
from pytest_yourai.store.profile_reader import profiles_in

from support.screens import Rendered

QUICK = Path(__file__).parents[2] / "data" / "h200_llama8b_quick.json"


def quick() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(QUICK.read_text(encoding="utf-8"))
    return document


def compared_with(changed: dict[str, Any]) -> BaselineComparison:
    after = profiles_in(changed, "new|.json")
    return BaselineComparison(
        tuple(compare_all(profiles_in(quick(), "old.json"), after)), DEFAULT_THRESHOLDS
    )


def test_what_got_worse_stands_before_the_table() -> None:
    changed = quick()
    rows = changed["all_results"]
    rows[3]["minimum_memory_bytes"] *= 2
    rows[4].update(outcome="oom", success=False, error="metal | <b> refused")
    lines = list(comparison_section(compared_with(changed)))
    assert lines[0] == (
        "### llama-8b: new&#124;.json compared with old.json of 2026-11-21 09:08 UTC"
    )
    assert lines[2].startswith("**2 regressions** (minimum_memory:5%, ")
    rendered = Rendered("\n".join(lines))
    lost = "Worse: batch=1, rank=128, layers=32: no longer fits: oom: metal | <b> refused"
    assert lost in rendered.text
    assert "minimum_memory 8.6 GB before, 17.3 GB now (+100.0 %, allowed 5%)" in rendered.text
    [header, *cells] = rendered.cells
    assert header == [
        "configuration: old / new / change",
        *("needs", "takes", "step time", "tokens/s", "outcome"),
    ]
    assert len(cells) == 12
    assert cells[3][:2] == ["batch=2, rank=64, layers=16", "8.6 GB / 17.3 GB / +100.0 %"]
    assert cells[4][-1] == "ok → oom"


def test_where_nothing_got_worse_the_gate_is_shown() -> None:
    lines = list(comparison_section(compared_with(quick())))
    assert lines[2] == ("**No regression** (minimum_memory:5%, mean_step_time:10%, step_time:25%)")
    assert not any("Worse" in line for line in lines)


def test_other_circumstances_are_shown() -> None:
    changed = quick()
    changed["environment"]["versions"]["mlx"] = "9<b>"
    lines = list(comparison_section(compared_with(changed)))
    assert "- Note: other versions: mlx 0.32.4, now 9\\<b>" in lines


def test_it_stands_between_the_answer_and_all_rows() -> None:
    compared = compared_with(quick())
    text = markdown([each.after for each in compared.comparisons], None, compared)
    places = [text.index(part) for part in ("**Largest: ", "**No regr", "### All configurations")]
    assert places == sorted(places)
    assert text.count("### All configurations") == 1
    several = markdown([each.after for each in compared.comparisons] * 2, None, compared)
    assert several.index("| model |") < several.index("**No regr")
