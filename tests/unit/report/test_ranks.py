"""Wherever a profile of several ranks is shown, it says what its numbers are of."""

from __future__ import annotations

from typing import Any

from pytest_yourai.report.markdown import markdown
from pytest_yourai.report.page.history_data import history_data
from pytest_yourai.report.page.profile_data import profile_data
from pytest_yourai.report.profile_facts import ranks_note, where_measured
from pytest_yourai.report.tables import aligned

from support.profiles import stored


def two(it: dict[str, Any]) -> None:
    it["settings"].update(world_size=2, distributed_backend="nccl")


NOTE = "2 ranks by nccl: batches and tokens/s are of all together, memory of one rank"


def test_the_table_and_the_markdown_name_the_ranks() -> None:
    alone, several = stored(name="a.json"), stored(two, "b.json")
    assert NOTE in list(aligned([several]))
    assert list(aligned([alone, several, several])).count(NOTE) == 1
    assert ranks_note(alone.settings) is None
    assert "world size 2; distributed backend nccl" in markdown([several])
    assert "world size" not in markdown([alone])


def test_the_page_names_the_ranks_and_keeps_their_history_apart() -> None:
    alone, several = stored(), stored(two)
    assert profile_data(several)["title"].endswith("NVIDIA H200, 2 ranks by nccl")
    assert "ranks" not in profile_data(alone)["title"]
    assert where_measured(several) == f"{where_measured(alone)} × 2 by nccl"
    assert len(history_data([alone, several])) == 0
    assert len(history_data([alone, alone, several, several])) == 2
