import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.report.comparison_lines import baseline_lines
from pytest_yourai.report.markdown import comparison_section
from pytest_yourai.store.compare.baseline import BaselineComparison, read_baseline
from pytest_yourai.store.compare.thresholds import (
    DEFAULT_THRESHOLDS,
    RegressionThresholds,
    make_thresholds,
)
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.stored_profile import StoredProfile

from support.profiles import QUICK, document, failing, larger, stored

WALK = Path(__file__).parents[2] / "data" / "h200_benchmark_24gb.json"


def compared(
    before: Sequence[StoredProfile], after: dict[str, Any], thresholds: RegressionThresholds
) -> BaselineComparison:
    return BaselineComparison.of(before, profiles_in(after, "new.json"), thresholds)


def test_a_baseline_of_another_model_is_refused_before_the_run() -> None:
    with pytest.raises(OptionError, match="h200_llama8b_quick.json is of llama-8b, not of tiny"):
        read_baseline(QUICK, ["tiny"])
    [found] = read_baseline(QUICK, ["tiny", "llama-8b"])
    assert found.model == "llama-8b"


def test_a_baseline_without_success_is_refused_before_the_run(tmp_path: Path) -> None:
    path = tmp_path / "failed.json"
    found = document()
    for row in range(12):
        failing(row, "oom")(found)
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(OptionError, match="none of its configurations succeeded"):
        read_baseline(path, ["llama-8b"])


def test_a_run_that_got_worse_fails_unless_that_is_to_be_named_only() -> None:
    worse = document(larger(1.1))
    found = compared([stored()], worse, DEFAULT_THRESHOLDS)
    assert found.fails
    assert sum("REGRESSION" in line for line in baseline_lines(found, 200)) == 12
    named = BaselineComparison.of(
        [stored()], profiles_in(worse, "new.json"), make_thresholds([None])
    )
    assert not named.fails
    assert sum("REGRESSION" in line for line in baseline_lines(named, 200)) == 12
    assert not BaselineComparison.of(
        [stored()], profiles_in(document(), "new.json"), DEFAULT_THRESHOLDS
    ).fails


def test_a_walk_is_compared_model_by_model() -> None:
    baseline = read_baseline(WALK, ["hermes-70b", "dolphin-8b"])
    walk = json.loads(WALK.read_text(encoding="utf-8"))
    del walk["results"][2]
    walk["results"][1].update(success=False, outcome="oom", error="oom: no memory")
    found = compared(baseline, walk, DEFAULT_THRESHOLDS)
    assert found.missing == ("llama-8b",)
    assert list(baseline_lines(found, 200))[-1] == "Not tried now: llama-8b"
    assert [each.after.model for each in found.comparisons] == [
        each.model for each in baseline if each.model != "llama-8b"
    ]
    [line] = [line for line in baseline_lines(found, 200) if "REGRESSION" in line]
    assert "no longer fits: oom" in line


def test_a_model_that_cannot_be_compared_is_named_among_others() -> None:
    def other(it: dict[str, Any]) -> None:
        it["model"] = "another"
        for row in it["all_results"]:
            row["batch_size"] *= 16

    before = [stored(), stored(lambda it: it.update(model="another"), "old.json")]
    found = BaselineComparison.of(before, [stored(), stored(other)], DEFAULT_THRESHOLDS)
    lines = list(baseline_lines(found, 200))
    assert sum(line.startswith("No regression") for line in lines) == 1
    assert (
        sum(line.startswith("Not comparable: old.json and p.json: none of") for line in lines) == 1
    )
    section = list(comparison_section(found))
    assert sum(line.startswith("**Not comparable:** old.json and p.json") for line in section) == 1
