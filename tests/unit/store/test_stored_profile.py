import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.store.profile_reader import (
    parse_written,
    profiles_in,
    read_profile_of,
    read_profiles,
    stored_profile,
)

DATA = Path(__file__).parents[2] / "data"
QUICK = DATA / "h200_llama8b_quick.json"
WALK = DATA / "h200_benchmark_24gb.json"


def quick() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(QUICK.read_text(encoding="utf-8"))
    return document


def test_a_profile_comes_back_with_what_it_says_of_itself() -> None:
    [found] = read_profiles(QUICK)
    assert (found.name, found.model, len(found.results)) == (str(QUICK), "llama-8b", 12)
    assert found.optimum is not None
    assert found.optimum.config == LoraConfig(4, 128, 32, 512)
    assert found.objective is Objective.SCORE
    assert found.complete
    assert found.has_minima
    assert found.memory_limit_bytes == 110_000_000_000
    assert found.created_at is not None
    assert found.created_at.isoformat() == "2026-11-21T09:08:26+00:00"
    assert found.environment.device


def test_what_was_not_run_is_kept() -> None:
    document = quick()
    document["all_results"][0].update(
        outcome="skipped", success=False, started=False, error="no smaller than another"
    )
    [found] = profiles_in(document, "p.json")
    first = next(iter(found.results.values()))
    assert (first.outcome, first.started) == (Outcome.SKIPPED, False)
    assert len(found.successes) == 11


def test_the_models_of_a_walk_are_a_profile_each() -> None:
    found = read_profiles(WALK)
    assert [each.model for each in found] == [
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]
    assert [each.optimum is not None for each in found] == [True] * 4 + [False]
    [check] = found[0].results.values()
    assert check.success
    assert check.minimum_memory_bytes == pytest.approx(8.7e9, rel=0.2)
    assert check.predicted_minimum_memory_bytes is not None
    [too_large] = found[-1].results.values()
    assert too_large.outcome is Outcome.OVER_BUDGET
    assert "39.7 GB" in (too_large.reason or "")


NEW_ROW_KEYS = ("step_tokens", "conclusive", "started", "warnings", "kept", "epoch_time_s")
NEW_KEYS = ("optimal_max_seq_length", "optimal_grad_checkpoint", "data", "soak", "schema_version")


def test_a_profile_of_before_these_keys_were_is_read() -> None:
    document = quick()
    for key in NEW_KEYS:
        del document[key]
    for row in document["all_results"]:
        for key in NEW_ROW_KEYS:
            row.pop(key, None)
    [found], [now] = profiles_in(document, "old.json"), read_profiles(QUICK)
    assert found.results.keys() == now.results.keys()
    assert found.optimum is not None
    assert now.optimum is not None
    assert found.optimum.config == now.optimum.config
    for config, result in found.results.items():
        assert result.step_time_s == now.results[config].step_time_s
        assert result.tokens_per_second == pytest.approx(now.results[config].tokens_per_second)
        assert result.minimum_memory_bytes == now.results[config].minimum_memory_bytes
        assert result.predicted_minimum_memory_bytes == pytest.approx(
            now.results[config].predicted_minimum_memory_bytes
        )


def test_a_recording_of_peaks_says_that_it_has_no_minima() -> None:
    row = {
        "batch_size": 1,
        "lora_rank": 8,
        "lora_layers": 4,
        "peak_memory_mb": 100.0,
        "step_time_ms": 10.0,
        "success": True,
        "error": None,
    }
    [found] = profiles_in({"model": "m", "device": "D", "all_results": [row]}, "p.json")
    assert not found.has_minima
    assert found.environment == Environment(device="D")
    assert found.optimum is not None
    assert found.created_at is None


def test_nothing_fits_where_the_profile_says_so() -> None:
    document = quick()
    for key in list(document):
        if key.startswith("optimal_") and key != "optimal_for":
            document[key] = None
    [found] = profiles_in(document, "p.json")
    assert found.optimum is None


def test_control_characters_are_gone_and_markup_is_left() -> None:
    document = quick()
    document["model"] = "<b>\x1b[2J\u202e"
    document["all_results"][0]["warnings"] = ["a\nb"]
    [found] = parse_written(document, "p.json")
    assert found.model == "<b>?"
    assert next(iter(found.results.values())).warnings == ("a b",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, r"p\.json: schema_version: 2 is newer than 1"),
        ({"schema_version": "1"}, r"p\.json: schema_version: it must be a whole number"),
        ({"all_results": []}, r"p\.json: all_results: it must be a list"),
        ({"all_results": [{}]}, r"p\.json: all_results: row 1: "),
        ({"model": " "}, r"p\.json: model: it must name"),
        ({"optimal_batch_size": "4"}, r"p\.json: optimal_batch_size: "),
    ],
)
def test_what_is_not_a_profile_is_refused_in_one_sentence(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordingError, match=message) as caught:
        profiles_in({**quick(), **change}, "p.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_times_s": [5e-324] * 10}, r"row 1: step_times_s\.0: .*found 5e-324"),
        ({"step_times_s": [1e300] * 10}, r"row 1: step_times_s\.0: .*found 1e\+300"),
        ({"step_tokens": []}, "row 1: .* as many step_tokens as step_times_s"),
        ({"step_tokens": [511]}, "row 1: .* as many step_tokens as step_times_s"),
    ],
)
def test_what_no_ratio_can_be_made_of_is_refused(change: dict[str, Any], message: str) -> None:
    document = quick()
    document["all_results"][0].update(change)
    with pytest.raises(RecordingError, match=message):
        profiles_in(document, "p.json")


def test_a_key_of_an_older_version_is_ignored() -> None:
    document = quick()
    [plain] = profiles_in(document, "p.json")
    for row in document["all_results"]:
        row["reference_times_s"] = [0.003, 0.003]
    assert profiles_in(document, "p.json") == [plain]


def test_a_file_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[31m.json"
    path.write_text(json.dumps(quick()), encoding="utf-8")
    [found] = read_profiles(path)
    assert found.name.endswith("/a .json")


def test_a_walk_in_which_no_model_was_looked_at_is_refused() -> None:
    document: dict[str, Any] = json.loads(WALK.read_text(encoding="utf-8"))
    document = copy.deepcopy(document)
    for each in document["results"]:
        each.update(safe_config=None, optimal_config=None)
    with pytest.raises(RecordingError, match="none of its models was tried"):
        profiles_in(document, "w.json")


def test_a_model_that_was_not_tried_is_named(tmp_path: Path) -> None:
    document: dict[str, Any] = json.loads(WALK.read_text(encoding="utf-8"))
    document["results"][0].update(safe_config=None, optimal_config=None)
    path = tmp_path / "walk.json"
    path.write_text(json.dumps(document))
    with pytest.raises(RecordingError, match="hermes-mistral-7b was not tried"):
        read_profile_of(path, {"hermes-mistral-7b"})
    assert read_profile_of(path, {"llama-8b"}).optimum is not None


def test_deep_nesting_is_not_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"model":' + "[" * 50_000 + "]" * 50_000 + "}", encoding="utf-8")
    with pytest.raises(RecordingError, match="is not JSON"):
        read_profiles(path)


def test_a_journal_is_told_from_a_damaged_profile(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_log.jsonl"
    path.write_text('{"timestamp": 1, "event": "benchmark_start"}\n{"event": "trial"}\n')
    with pytest.raises(RecordingError, match="is a journal, not a profile: name the profile of"):
        read_profiles(path)
    path.write_text('{"event": \n')
    with pytest.raises(RecordingError, match="is not JSON"):
        read_profiles(path)


def test_what_is_nested_beyond_sense_is_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {}
    for _ in range(300):
        settings = {"deeper": settings}
    path = tmp_path / "deep.json"
    path.write_text(json.dumps({"model": "m", "all_results": [], "settings": settings}))
    with pytest.raises(RecordingError, match=r"nested more than 50 levels deep"):
        read_profiles(path)


def test_settings_that_are_not_known_here_stay_and_one_bad_version_costs_no_other() -> None:
    document = json.loads((DATA / "h200_llama8b_quick.json").read_text())
    document["settings"]["weight_decay"] = 0.1
    document["environment"]["versions"] = {"mlx": 1, "mlx-lm": "0.1"}
    for key in ("skip_reason", "overdue"):
        document["all_results"][0][key] = "of a later version"
    found = stored_profile(document, "p.json")
    assert found.settings.as_json()["weight_decay"] == 0.1
    assert found.environment.versions == {"mlx-lm": "0.1"}
    measured = found.measured.values()
    assert all(each.skip_reason is None and each.overdue is None for each in measured)
