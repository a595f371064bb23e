"""What a check tries, once the model and the data are known; and predictions without a worker."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.earlier_runs import EarlierRuns
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.plan.sweep_plan import (
    SafeCheck,
    SweepPlan,
    doubt_calibration,
    estimated_weight_bytes,
    profile_identity,
    read_earlier_runs,
    save_calibration,
    static_predictor,
)

from support.models import TINY
from support.profiles import a_plan, stored

GB = 1_000_000_000
LIKE = LoraConfig(1, 1, 1, 64, grad_checkpoint=True)
CONFIG = LoraConfig(1, 1, 1, 64)
FOUND = Inspection(num_hidden_layers=4, parameters=250_000, lora_keys={})


def test_a_check_tries_what_is_safe_with_the_rows_that_were_asked_for() -> None:
    plan = dataclasses.replace(a_plan("m", ()), check=SafeCheck(None, LIKE))
    safe = LoraConfig(2, 64, 4, 64, grad_checkpoint=True)
    assert plan.tried(FOUND, 20 * GB) == (safe,)
    large = SafeCheck(70e9, LIKE).configuration(FOUND, 20 * GB)
    assert (large.batch_size, large.rank) == (1, 16)


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 1), (2, 2), (9, 2)])
def test_a_check_takes_no_more_rows_than_the_data_has(rows: int, batch_size: int) -> None:
    found = dataclasses.replace(FOUND, data=TrainingData((5,) * rows))
    assert SafeCheck(None, LIKE).configuration(found, 20 * GB).batch_size == batch_size


def test_a_check_keeps_the_rows_of_an_update() -> None:
    odd = SafeCheck(None, LIKE, effective_batch_size=5).configuration(FOUND, 20 * GB)
    assert (odd.batch_size, odd.grad_accumulation_steps) == (1, 5)
    safe = SafeCheck(None, LIKE, effective_batch_size=16).configuration(FOUND, 20 * GB)
    assert (safe.batch_size, safe.grad_accumulation_steps) == (2, 8)


def test_a_sweep_tries_its_configurations_whatever_is_safe() -> None:
    assert a_plan("m", (CONFIG,)).tried(FOUND, 1) == (CONFIG,)


def test_weights_take_what_arithmetic_makes_of_the_model() -> None:
    known = ModelSource("tiny", TINY, None, True, None, ("qkvo",))
    weight_bytes = estimated_weight_bytes(a_plan("tiny", (CONFIG,), source=known))
    assert weight_bytes == pytest.approx(4 * 250_000, rel=0.2), "four bytes a parameter"
    assert estimated_weight_bytes(a_plan("unknown", (CONFIG,))) is None


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


LEARNED = Calibration((1.1, 1.2, 1.3, 1.4), (0.001, 0.01, 0.01, 0.1), trials=12)


def plan_of(**changes: Any) -> SweepPlan:
    source = ModelSource("m", {**TINY, **changes}, None, True, None, ("qkvo",))
    return a_plan("m", (CONFIG,), source=source)


@pytest.mark.usefixtures("_own_cache")
def test_what_this_machine_taught_is_there_in_the_next_run() -> None:
    plan = plan_of()
    assert read_earlier_runs(plan, "cpu") == {}
    save_calibration(plan, "cpu", {})
    assert read_earlier_runs(plan, "cpu") == {}
    save_calibration(plan, "cpu", {"lora": LEARNED})
    assert read_earlier_runs(plan, "cpu") == {"lora": EarlierRuns(own=LEARNED)}
    assert doubt_calibration(plan, "cpu") is None


@pytest.mark.usefixtures("_own_cache")
def test_other_models_of_the_kind_are_told_apart_and_other_kinds_not_heard() -> None:
    save_calibration(plan_of(), "cpu", {"lora": LEARNED})
    alike = plan_of(num_hidden_layers=3)
    assert read_earlier_runs(alike, "cpu") == {"lora": EarlierRuns(others=(LEARNED,))}
    assert read_earlier_runs(plan_of(), "cuda") == {}
    for change in ({"model_type": "qwen2"}, {"hidden_size": 1024}, {"torch_dtype": "bfloat16"}):
        assert read_earlier_runs(plan_of(**change), "cpu") == {}, change


@pytest.mark.usefixtures("_own_cache")
def test_a_replay_neither_learns_from_this_machine_nor_teaches_about_it() -> None:
    here = a_plan("tiny", (CONFIG,))
    replay = a_plan("tiny", (CONFIG,), recording=stored())
    save_calibration(replay, "cpu", {"lora": LEARNED})
    assert read_earlier_runs(here, "cpu") == {}
    save_calibration(here, "cpu", {"lora": LEARNED})
    assert read_earlier_runs(here, "cpu")
    assert read_earlier_runs(replay, "cpu") == {}
    assert doubt_calibration(replay, "cpu") is None


@pytest.mark.usefixtures("_own_cache")
def test_without_a_worker_the_backend_is_the_installed_or_the_recorded_one() -> None:
    source = ModelSource("tiny", TINY, None, True, None, ("qkvo",))
    here = static_predictor(a_plan("tiny", (CONFIG,), source=source))
    assert here.backend == installed_backend()
    assert here.predict(CONFIG) is not None
    replayed = static_predictor(a_plan("tiny", (CONFIG,), source=source, recording=stored()))
    assert replayed.backend == "cuda"
    peaks_alone = stored(lambda found: found["settings"].update(peaks_stand_in_for_minima=True))
    plan = a_plan("tiny", (CONFIG,), source=source, recording=peaks_alone)
    assert static_predictor(plan).predict(CONFIG) is None


def test_rows_are_those_of_one_sweep_if_all_but_a_detected_budget_is_equal() -> None:
    device = DeviceInfo("cpu", "x", 10, 5, "0.32", "0.32")
    plan = a_plan("tiny", (CONFIG, dataclasses.replace(CONFIG, batch_size=9)))
    known = profile_identity(plan, device)
    alike = dataclasses.replace(plan, configs=plan.configs[::-1])
    assert profile_identity(alike, dataclasses.replace(device, free_memory_bytes=1)) == known
    for other in (
        dataclasses.replace(plan, configs=plan.configs[:1]),
        dataclasses.replace(plan, memory_limit_bytes=GB),
        dataclasses.replace(plan, identity={"model": "other"}),
        dataclasses.replace(plan, check=SafeCheck(1.0, CONFIG)),
        dataclasses.replace(plan, check=SafeCheck(1.0, CONFIG, fixed=("rank",))),
    ):
        assert profile_identity(other, device) != known
    assert profile_identity(plan, dataclasses.replace(device, name="y")) != known
