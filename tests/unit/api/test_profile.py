from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import pytest

import pytest_yourai
from pytest_yourai import InputError, Profile, TrialResult
from pytest_yourai.core.config import Objective

from support.profiles import DATA, HOSTILE, QUICK, document, failing

WALK = DATA / "h200_benchmark_full.json"


def written(folder: Path, changed: dict[str, Any], name: str = "p.json") -> Path:
    changed.pop("digest", None)
    path = folder / name
    path.write_text(json.dumps(changed))
    return path


def sizes(result: TrialResult | None) -> tuple[int, int, int]:
    assert result is not None
    return result.config.batch_size, result.config.rank, result.config.num_layers


def test_a_profile_has_three_answers() -> None:
    profile = pytest_yourai.load(QUICK)
    assert sizes(profile.largest) == (4, 128, 32)
    assert sizes(profile.fastest) == sizes(profile.leanest) == (4, 64, 16)
    assert len(profile.rows) == 12
    assert (profile.model, profile.machine) == ("llama-8b", "NVIDIA H200 (cuda), 150.8 GB")
    assert profile.objective is Objective.SCORE
    assert profile.complete
    assert profile.name == str(QUICK)
    assert profile.created_at is not None
    assert profile.created_at.tzinfo is not None
    assert profile.budget_gb == pytest.approx(json.loads(QUICK.read_text())["memory_limit_gb"])


def test_at_restricts_the_rows_and_the_answers() -> None:
    profile = pytest_yourai.load(str(QUICK))
    found = profile.at(rank=64, num_layers=32, grad_checkpoint=False)
    assert {sizes(row)[1:] for row in found.rows} == {(64, 32)}
    assert sizes(found.largest) == (4, 64, 32)
    assert len(found.at(batch_size=1).rows) == 1
    assert len(profile.rows) == 12, "the first one stays whole"
    same = profile.at(lora_keys=["self_attn.q_proj", "v_proj", "k_proj", "self_attn.o_proj"])
    assert len(same.rows) == len(profile.at(lora_keys="qkvo").rows) == 12


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"rank": 5}, "no such row has rank 5: choose from 64, 128"),
        ({"rank": "64"}, "no such row has rank '64': choose from 64, 128"),
        ({"batch_size": 4, "grad_checkpoint": True}, "grad_checkpoint on: choose from off"),
        ({"lora_keys": ["all", "q"]}, "lora_keys: .*name it alone"),
    ],
)
def test_values_that_no_row_has_are_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pytest_yourai.load(QUICK).at(**wanted)


def test_where_nothing_fits_there_is_no_answer(tmp_path: Path) -> None:
    found = document()
    for row in range(12):
        failing(row, "over_budget")(found)
    profile = pytest_yourai.load(written(tmp_path, found))
    assert profile.largest is profile.fastest is profile.leanest is None
    assert "0 of 12 fit" in repr(profile)
    assert "Nothing fits" in profile._repr_html_()


def test_what_a_soak_ruled_out_is_no_answer(tmp_path: Path) -> None:
    found = document()
    largest = {"batch_size": 4, "lora_rank": 128, "lora_layers": 32, "max_seq_length": 512}
    soak = {**largest, "outcome": "timeout", "asked_minutes": 1, "minutes": 1, "steps": 9}
    profile = pytest_yourai.load(written(tmp_path, {**found, "soak": [soak]}))
    assert sizes(profile.largest) != (4, 128, 32)
    assert sizes(profile.at(num_layers=32).largest) == (4, 64, 32)


def test_of_several_models_one_is_named() -> None:
    assert pytest_yourai.load(WALK, model="llama-8b").model == "llama-8b"
    with pytest.raises(InputError, match="results of hermes-mistral-7b, .*: name one of them"):
        pytest_yourai.load(WALK)
    with pytest.raises(InputError, match="and not llama-9b: name one of them"):
        pytest_yourai.load(WALK, model="llama-9b")
    with pytest.raises(InputError, match="and not llama-9b"):
        pytest_yourai.load(QUICK, model="llama-9b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{}", "model: it must name the model"),
        ('{"model": "m", "all_results": [{"batch_size": 0}]}', "all_results: row 1: lora_rank"),
        (QUICK.read_text()[:-40], "is not JSON"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_sentence(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        pytest_yourai.load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["no/such/file", "a\0b", b"bytes"])
def test_a_path_to_nothing_is_refused(path: Any) -> None:
    with pytest.raises(InputError, match="name a profile"):
        pytest_yourai.load(path)


def test_a_notebook_shows_tables_whose_texts_are_escaped(tmp_path: Path) -> None:
    found = document()
    found["model"] = HOSTILE
    found["environment"]["device"] = HOSTILE
    failing(3, "error", error=HOSTILE)(found)
    page = pytest_yourai.load(written(tmp_path, found, "<b>.json"))._repr_html_()
    assert page.count("<table>") == 2
    assert not re.findall(r"<(?!/?(?:h4|p|table|tr|th|td|details|summary)\b)", page)
    assert "largest" in page
    assert "18.9 GB" in page


def test_long_tables_are_cut(tmp_path: Path) -> None:
    found = document()
    first = found["all_results"][0]
    found["all_results"] = [{**first, "lora_rank": rank} for rank in range(1, 61)]
    found = {key: value for key, value in found.items() if not key.startswith("optimal")}
    page = pytest_yourai.load(written(tmp_path, {**found, "complete": False}))._repr_html_()
    assert "10 more" in page
    assert "incomplete" in page


def test_a_profile_prints_its_answers() -> None:
    assert repr(pytest_yourai.load(QUICK).at(rank=64)).splitlines()[1:] == [
        "  largest: batch=4, rank=64, layers=32, 3,628 tokens/s, needs 18.2 GB",
        "  fastest, leanest: batch=4, rank=64, layers=16, 4,833 tokens/s, needs 11.8 GB",
    ]


def test_a_data_frame_has_a_row_for_each_configuration() -> None:
    pytest.importorskip("pandas")
    profile: Profile = pytest_yourai.load(QUICK)
    frame = profile.to_pandas()
    assert len(frame) == 12
    best = frame.loc[frame["score"].idxmax()]
    assert (best["batch_size"], best["rank"], best["num_layers"]) == (4, 128, 32)
    assert best["minimum_memory_gb"] == pytest.approx(18.870379, rel=1e-6)
    assert frame.attrs["model"] == "llama-8b"


def test_without_pandas_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return usual(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="needs pandas: install it with pip install pandas"):
        pytest_yourai.load(QUICK).to_pandas()
