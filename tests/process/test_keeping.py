"""What a session writes never makes an earlier profile poorer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import SweepResult
from support.profiles import QUICK, document

Replay = Callable[..., SweepResult]


@pytest.fixture
def replayed(pytester: pytest.Pytester) -> Replay:
    """Replays the recorded profile, some of it."""

    def run(*arguments: str) -> SweepResult:
        done = pytester.runpytest_inprocess(f"--yourai-replay={QUICK}", *arguments)
        return SweepResult(done, pytester.path)

    return run


def profile(path: Path = Path("optimal_config.json")) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_part_of_a_sweep_is_merged_into_the_whole(replayed: Replay) -> None:
    replayed("--yourai-lora-config=lora.yaml")
    whole, lora = profile(), Path("lora.yaml").read_text()
    done = replayed("-k", "batch1-rank64-layers16", "--yourai-lora-config=lora.yaml")
    found = profile()
    assert found["complete"] is True
    assert len(found["all_results"]) == 12
    assert found["throughput_score"] == whole["throughput_score"]
    assert Path("lora.yaml").read_text() == lora
    done.stdout.fnmatch_lines(
        "Saved to: optimal_config.json, with 11 rows of earlier runs, among them the best: "
        "batch=4, rank=128, layers=32"
    )
    assert sorted(each.name for each in Path().glob("*.json")) == ["optimal_config.json"]


def test_a_part_is_not_the_whole_until_all_is_there(replayed: Replay) -> None:
    replayed("-k", "batch1 or batch2")
    Path("optimal_config.json").write_text(
        json.dumps({**profile(), "complete": False, "digest": None})
    )
    replayed("-k", "batch4-rank64-layers16")
    assert profile()["complete"] is False
    replayed("-k", "batch4")
    assert profile()["complete"] is True


def test_a_profile_of_another_kind_is_kept_under_its_date(replayed: Replay) -> None:
    Path("optimal_config.json").write_text(json.dumps(document()))
    done = replayed("-k", "batch1")
    assert profile(Path("optimal_config-2026-11-21-090826.json")) == document()
    assert len(profile()["all_results"]) == 4
    done.stdout.fnmatch_lines(
        [
            "Saved to: optimal_config.json",
            "Kept as optimal_config-2026-11-21-090826.json: the earlier profile: two machines: *",
        ]
    )


def test_a_replay_of_another_budget_measured_nothing_and_makes_room(replayed: Replay) -> None:
    replayed("-k", "batch1")
    done = replayed("-k", "batch1", "--yourai-max-memory=10")
    assert "Kept as" not in done.text
    assert len(list(Path().glob("*.json"))) == 1


def test_a_replay_of_another_recording_keeps_the_earlier_one(
    replayed: Replay, pytester: pytest.Pytester
) -> None:
    replayed("-k", "batch1")
    first = profile()
    Path("other.json").write_text(json.dumps(document()))
    done = pytester.runpytest_inprocess("--yourai-replay=other.json", "--yourai-max-memory=30")
    done.stdout.fnmatch_lines("Kept as optimal_config-*: the earlier profile: *other budget: *")
    [kept] = Path().glob("optimal_config-*.json")
    assert profile(kept)["all_results"] == first["all_results"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--yourai-matrix=m.yaml",), "earlier profile: of another matrix"),
        (("--yourai-max-memory=50",), "earlier profile: other budget: 110.0 GB, now 50.0 GB"),
    ],
)
def test_why_it_is_kept_is_said(replayed: Replay, flags: tuple[str, ...], why: str) -> None:
    replayed()
    measured = profile()
    del measured["settings"]["replay"], measured["digest"]
    Path("optimal_config.json").write_text(json.dumps(measured))
    Path("m.yaml").write_text("batch_size: [1]\nlora_rank: [64]\nlora_layers: [16]\n")
    replayed(*flags).stdout.fnmatch_lines(f"Kept as optimal_config-*.json: the {why}")


def test_what_is_no_profile_and_what_was_edited_is_kept(replayed: Replay) -> None:
    for name in ("optimal_config.json", "lora.yaml", "notes.md"):
        Path(name).write_text("my notes")
    done = replayed("-k", "batch1", "--yourai-lora-config=lora.yaml", "--yourai-markdown=notes.md")
    kept = [each for each in Path().iterdir() if each.is_file() and each.read_text() == "my notes"]
    assert sorted(each.suffix for each in kept) == [".json", ".md", ".yaml"]
    assert done.text.count("Kept as ") == 3
    assert "no profile that this version can read" in done.text
