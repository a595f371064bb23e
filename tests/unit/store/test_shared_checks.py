"""`yourai check` finds each fault of a shared file, by its key."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.digest import with_digest
from pytest_yourai.core.files import read_document
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.shared.bounds import bounds_of
from pytest_yourai.store.shared.checks import Bounds, faults_of, read_faults
from pytest_yourai.store.shared.document import SharedProfile
from pytest_yourai.store.shared.sharing import shared_document

from support.profiles import DATA, quick

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    [profile] = profiles_in(quick(), "p.json")
    return shared_document(profile, read_presets(packaged_models()))


def faults(right: dict[str, Any], change: Change) -> list[str]:
    """Those of a changed file that was sealed again."""
    found = copy.deepcopy(right)
    change(found)
    return [str(each) for each in faults_of(with_digest(found), bounds_of)]


def row(number: int, **values: Any) -> Change:
    return lambda found: found["all_results"][number - 1].update(values)


def power(**worst: Any) -> dict[str, Any]:
    calm = {"source": "mains", "charge_percent": 100, "low_power_mode": False, "thermal": "nominal"}
    return {"start": calm, "worst": calm | worst, "end": calm}


def test_a_file_as_it_was_shared_has_no_fault(right: dict[str, Any]) -> None:
    assert faults(right, lambda _: None) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: found.pop("shared"), "shared: it is missing; write the file with"),
        (lambda found: found.update(user="jane"), "user: extra inputs are not permitted"),
        (row(2, host="x"), "all_results.1.host: extra inputs are not permitted"),
        (row(2, error="/home/x"), "all_results.1.error: input should be None"),
        (row(2, warnings=["x"]), "all_results.1.warnings: list should have at most 0 items"),
        (
            lambda found: found["environment"].update(chip="/etc"),
            "environment.chip: string should match pattern",
        ),
        (lambda found: found.update(all_results=[]), "all_results: list should have at least 1"),
        (lambda found: found.update(complete=False), "complete: the sweep was interrupted"),
        (lambda found: found.update(trials_run=9), "trials_run: it is 9, and 12 rows were started"),
        (
            lambda found: found["environment"]["versions"].pop("mlx"),
            "environment.versions.mlx: it is missing",
        ),
        (
            lambda found: found["all_results"][1].update(found["all_results"][0]),
            "all_results: a configuration has two rows",
        ),
        (
            lambda found: found["environment"].update(power_source="battery"),
            "environment.power_source: it was on battery: connect the charger",
        ),
        (
            lambda found: found["environment"].update(low_power_mode=True),
            "environment.power_source: low-power mode was on",
        ),
        (row(3, power=power(source="battery")), "all_results: row 3: power: it was on battery"),
        (row(3, power=power(thermal="critical")), "all_results: row 3: power: it was throttled"),
        (row(1, tokens_per_second=9.9), "all_results: row 1: tokens_per_second: it is 9.9, and by"),
        (row(1, step_time_ms=None), "all_results: row 1: step_time_ms: it is None, and by the raw"),
        (row(1, minimum_memory_mb=1.0), "all_results: row 1: minimum_memory_mb: it is 1.0, and"),
        (row(1, update_time_s=9.9), "all_results: row 1: update_time_s: it is 9.9, and by the raw"),
        (lambda found: found.update(model="mine"), "model: mine is not a packaged preset: share"),
        (
            lambda found: found["settings"].update(model="owner/other"),
            "model: llama-8b is not the name of owner/other",
        ),
        (
            lambda found: found["settings"].update(model="owner/.."),
            "settings.model: string should match pattern",
        ),
        (lambda found: found.update(created_at=":-:"), "created_at: :-: is not a time: share the"),
        (
            lambda found: found.update(memory_limit_gb=1e6),
            "memory_limit_gb: 1,000,000.0 GB is over the machine's 150.8 GB",
        ),
        (
            lambda found: found["settings"].update(safety_margin=0.5),
            "settings.safety_margin: input should be greater than or equal to 1",
        ),
        (
            lambda found: found["settings"].update(distributed_backend="ring"),
            "settings.distributed_backend: it is ring, and settings.world_size is 1",
        ),
        (row(1, loss=0.0), "all_results: row 1: loss: it is 0.0, which is not a valid loss"),
        (row(1, throughput_score=1), "all_results: row 1: throughput_score: it is 1, and by"),
    ],
)
def test_a_fault_is_named_by_its_key(right: dict[str, Any], change: Change, expected: str) -> None:
    found = faults(right, change)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (row(1, step_times_s=[0.1] * 3, step_tokens=[511] * 3), "step_times_s: it has 3 of 10"),
        (row(1, step_tokens=[900] * 10), "step_tokens: a step of made-up rows has 511 tokens"),
        (row(1, peak_memory_bytes=5_000_000_000), "peak_memory_bytes: 5.0 GB is below the minimum"),
        (
            row(1, peak_memory_bytes=900_000_000_000),
            "peak_memory_bytes: 900.0 GB is over the budget",
        ),
        (row(1, minimum_memory_bytes=4_000_000_000), "minimum_memory_bytes: 4.0 GB is less than"),
        (
            row(1, minimum_memory_bytes=9_000_000_000, peak_memory_bytes=9_000_000_000),
            "minimum_memory_bytes: 9.0 GB is over the conservative estimate, 7.3 GB",
        ),
        (
            lambda found: found.update(memory_limit_gb=7.0),
            "outcome: ok, but 7.9 GB is over the budget",
        ),
        (row(1, outcome="over_budget"), "outcome: over_budget, but 7.9 GB is within the budget"),
        (
            lambda found: found["settings"].update(world_size=7, distributed_backend="ring"),
            "ranks: it has 0, and settings.world_size is 7",
        ),
        (
            row(1, ranks=[{"minimum_memory_bytes": 1, "peak_memory_bytes": 1, "step_time_s": 1.0}]),
            "ranks: it has 1, and settings.world_size is 1",
        ),
    ],
)
def test_what_cannot_be_is_found(right: dict[str, Any], change: Change, expected: str) -> None:
    assert any(each.startswith(f"all_results: row 1: {expected}") for each in faults(right, change))


@pytest.fixture(scope="module")
def together() -> dict[str, Any]:
    [profile] = profiles_in(read_document(DATA / "hosts_2xh200_ring.json"), "p.json")
    return shared_document(profile, read_presets(packaged_models()))


def of_rank(number: int, **values: Any) -> Change:
    return lambda found: found["all_results"][0]["ranks"][number].update(values)


def test_a_file_of_two_ranks_has_no_fault(together: dict[str, Any]) -> None:
    assert faults(together, lambda _: None) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (row(1, ranks=[]), "ranks: it has 0, and settings.world_size is 2"),
        (
            row(1, batch_size=3, throughput_score=384),
            "batch_size: 2 ranks do not divide 3",
        ),
        (of_rank(1, minimum_memory_bytes=8_000_000_000), "ranks: one needs 8.0 GB, and the trial"),
        (of_rank(1, peak_memory_bytes=90_000_000_000), "ranks: one takes 90.0 GB, and the trial"),
        (of_rank(0, step_time_s=9.0), "ranks: one takes 9.0s a step, and the trial less"),
        (row(1, all_sum_bytes=4), "all_sum_bytes: it is 4, and the gradients have 13631488"),
        (row(1, communication_share=0.0), "communication_share: it is 0.0, and by the raw"),
    ],
)
def test_figures_that_ranks_cannot_have_are_found(
    together: dict[str, Any], change: Change, expected: str
) -> None:
    found = faults(together, change)
    assert any(each.startswith(f"all_results: row 1: {expected}") for each in found), found


def test_lower_minima_of_all_ranks_are_found(together: dict[str, Any]) -> None:
    def change(found: dict[str, Any]) -> None:
        for each in found["all_results"][0]["ranks"]:
            each["minimum_memory_bytes"] = 1_000_000_000

    assert faults(together, change) == [
        "all_results: row 1: ranks: one needs 1.0 GB, and the trial 6.6 GB"
    ]


@pytest.mark.parametrize(
    ("version", "is_one"),
    [
        ("0.32.4", True),
        ("3.14.0rc1", True),
        ("3.15.0a2+", True),
        ("0.1.0.dev1274+gefcdadc21", True),
        ("0.32.5.dev20261101+abc1234.d20261101", True),
        ("0.32.4+jane.host", False),
        ("0.32.4-jane", False),
        ("/home/jane", False),
    ],
)
def test_a_version_holds_no_free_text(right: dict[str, Any], version: str, is_one: bool) -> None:
    found = faults(right, lambda found: found["environment"]["versions"].update(mlx=version))
    assert bool(found) is not is_one


def test_the_power_state_of_a_mac_must_be_there(right: dict[str, Any]) -> None:
    found = faults(right, lambda found: found["environment"].update(backend="metal"))
    assert found[0] == "all_results: row 1: power: it is missing: sweep again with this version"


def test_where_nothing_was_run_there_is_nothing_to_share(right: dict[str, Any]) -> None:
    def skipped(found: dict[str, Any]) -> None:
        found["trials_run"] = 0
        found["all_results"] = found["all_results"][:1]
        found["all_results"][0].update(
            started=False, outcome="skipped", minimum_memory_bytes=None, peak_memory_bytes=None
        )

    found = faults(right, skipped)
    assert "all_results: no trial was run: share a sweep that measured something" in found


def test_the_ranks_of_several_machines_share_a_batch(right: dict[str, Any]) -> None:
    def together(found: dict[str, Any]) -> None:
        found["settings"].update(world_size=2, distributed_backend="ring")

    changed = copy.deepcopy(right)
    together(changed)
    shared = SharedProfile.model_validate(changed)
    four, two = (LoraConfig(batch, 64, 16, 512) for batch in (4, 2))
    alone = SharedProfile.model_validate(right)
    assert bounds_of(shared, four) == bounds_of(alone, two)
    assert bounds_of(alone, four) != bounds_of(alone, two)


def test_without_bounds_nothing_is_held_against_them(right: dict[str, Any]) -> None:
    settings = {**right["settings"], "model": "owner/llama-8b"}
    assert faults_of(with_digest({**right, "settings": settings}), lambda *_: None) == []
    assert faults_of(right, lambda *_: Bounds(1 << 50, 1 << 51)) != []


def test_a_file_is_read_with_its_faults(tmp_path: Path, right: dict[str, Any]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(right))
    assert read_faults(path, bounds_of) == []
    path.write_text(json.dumps({**right, "trials_run": 11}))
    [fault] = read_faults(path, bounds_of)
    assert fault.key == "digest"
    assert fault.problem.startswith("the file was changed after it was written")
    path.write_text("{")
    [fault] = read_faults(path, bounds_of)
    assert str(fault).startswith("file: ")
    assert "is not JSON" in fault.problem


def test_a_seal_of_another_content(right: dict[str, Any]) -> None:
    [fault] = faults_of({**right, "complete": True, "memory_limit_gb": 111.0}, bounds_of)
    assert str(fault).startswith("digest: the file was changed after it was written")
