from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pytest_yourai
from pytest_yourai import InputError, Outcome
from pytest_yourai.core.outcomes import SkipReason

from support.profiles import DATA, QUICK

RECORDED = DATA / "matrix_h200_llama8b_256.json"


def test_a_replay_yields_every_row_and_writes_the_profile(tmp_path: Path) -> None:
    output = tmp_path / "p.json"
    found = list(pytest_yourai.sweep("llama-8b", replay=QUICK, memory_gb=36, output=output))
    assert len(found) == 12
    assert {each.outcome for each in found} == {Outcome.OK}
    profile = pytest_yourai.load(output)
    assert {row.config for row in profile.rows} == {each.config for each in found}
    assert profile.complete
    assert list(tmp_path.iterdir()) == [output], "no journal was asked for"


def test_the_fast_search_chooses_what_is_next() -> None:
    every = list(pytest_yourai.sweep("llama-8b", replay=RECORDED, memory_gb=36))
    found = list(pytest_yourai.sweep("llama-8b", replay=RECORDED, memory_gb=36, search="fast"))
    assert len(found) == len(every) == 80
    left_out = [each for each in found if each.skip_reason is SkipReason.SEARCH_IS_DONE]
    assert len(left_out) > 40
    assert found[0].config.throughput_score == max(
        each.config.throughput_score for each in every if each.success
    )


def test_values_restrict_a_replay() -> None:
    found = pytest_yourai.sweep("llama-8b", replay=RECORDED, quick=True, rank=64, num_layers=16)
    assert {(each.config.rank, each.config.num_layers) for each in found} == {(64, 16)}


def test_a_sweep_that_is_closed_keeps_what_it_has(tmp_path: Path) -> None:
    output, log = tmp_path / "p.json", tmp_path / "j.jsonl"
    running = pytest_yourai.sweep("llama-8b", replay=QUICK, output=output, log=log)
    first = next(running)
    running.close()
    profile = pytest_yourai.load(output)
    assert [row.config for row in profile.rows] == [first.config]
    assert not profile.complete
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[-1] == "benchmark_complete"


def test_nothing_is_started_or_written_before_the_first_result(tmp_path: Path) -> None:
    log = tmp_path / "j.jsonl"
    pytest_yourai.sweep("tiny", output=tmp_path / "p.json", log=log).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"^batch_size: '0' is not valid: .* at least 1$"),
        ({"batch_size": [1, "x"]}, r"^batch_size: '1,x' is not valid"),
        ({"num_layers": []}, r"^num_layers: it has no value: give one, or leave it out$"),
        ({"rank": {"a": 1}}, r"^rank: it is a mapping: give one value, or a list of them$"),
        ({"memory_gb": 0}, r"^memory_gb: '0' is not valid"),
        ({"quick": True, "matrix": "m.yaml"}, r"^quick and matrix both name a matrix"),
        ({"resume": True}, r"^resume: name the journal of the earlier run as log$"),
        ({"output": "no/such/folder/p.json"}, r"^output: .*p.json cannot be written"),
        ({"output": "p.json", "log": "p.json"}, r"^output and log are one file: name two$"),
        ({"output": QUICK, "replay": QUICK}, r"^output: .* is read for replay: name another"),
        ({"effective_batch_size": 4, "grad_accumulation_steps": 2}, "^effective_batch_size: grad_"),
    ],
)
def test_mistakes_are_told_by_the_arguments_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pytest_yourai.sweep("tiny", **arguments)


def test_a_recording_in_the_usual_place_of_a_profile_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = tmp_path / "optimal_config.json"
    usual.write_bytes(QUICK.read_bytes())
    assert len(list(pytest_yourai.sweep("llama-8b", replay="optimal_config.json"))) == 12
    assert usual.read_bytes() == QUICK.read_bytes()


def test_a_profile_that_cannot_be_written_at_the_end_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    running = pytest_yourai.sweep("llama-8b", replay=QUICK, output=folder / "p.json")
    next(running)
    folder.rmdir()
    with pytest.raises(InputError, match="cannot be written"):
        list(running)


def test_the_function_stays_what_it_is_beside_the_package_of_its_name() -> None:
    import pytest_yourai.sweep.model_sweep  # noqa: PLC0415

    assert callable(pytest_yourai.sweep)
    assert pytest_yourai.sweep.__name__ == "sweep"
