"""A trial keeps every field on its way through a report."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import pytest

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome, SkipReason
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.results import ModelSize, TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.machine.system_memory import ProcessUse
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SweepContext
from pytest_yourai.sweep.preflight import Preflight
from pytest_yourai.sweep.reports import ItemCounts, SoakReport, TrialReport
from pytest_yourai.sweep.stage_info import StageInfo

from support.profiles import a_soak

CONFIG = LoraConfig(2, 64, 16, 512)
OPENED = StageInfo(
    title="Llama",
    weights="synthetic 4-bit",
    settings=SweepSettings(lora_keys=("self_attn.q_proj",), quantization=Quantization(4)),
    notes=("a note",),
    context=SweepContext(
        DeviceInfo("cuda", "H200", 10, None, "0.32", "0.32"),
        Inspection(
            32,
            8_000_000_000,
            {"qv": ("self_attn.q_proj",)},
            {"qv": InspectedShapes(1, (LinearShape("self_attn.q_proj", 64, 64),), (0, 128))},
            TrainingData((3, 20)),
        ),
        Budget(28, "as given"),
    ),
    preflight=Preflight(CONFIG, 1, 2, 3, 4, (ProcessUse("browser", 7, 5),)),
    quantized_on_load=Quantization(bits=4),
)
RESULT = TrialResult(
    "llama-8b",
    CONFIG,
    Outcome.OK,
    warnings=("leaks",),
    warmup_step_times_s=(1.0, 2.0),
    step_times_s=(0.5,),
    step_tokens=(1022,),
    loss=5.5,
    size=ModelSize(8, 4),
)


def reported(result: TrialResult, stopped: str | None = None) -> TrialReport:
    return TrialReport("llama-8b", False, ItemCounts(3, 9, 2), OPENED, None, stopped, result)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_it_comes_back_as_it_was(outcome: Outcome) -> None:
    sent = reported(dataclasses.replace(RESULT, outcome=outcome))
    assert TrialReport.from_json(sent.to_json()) == sent


def test_a_loss_that_is_not_a_number_travels_too() -> None:
    sent = reported(dataclasses.replace(RESULT, loss=math.nan, step_times_s=(math.inf,)))
    text = sent.to_json()
    assert json.loads(text)["model"] == "llama-8b"
    back = TrialReport.from_json(text).result
    assert back.loss is not None
    assert math.isnan(back.loss)
    assert back.step_times_s == (math.inf,)


def test_soaks_come_back_as_they_were() -> None:
    sent = SoakReport(
        "llama-8b", (a_soak(CONFIG, Outcome.PAGING, slowdown=None), a_soak(CONFIG)), "disk full"
    )
    assert SoakReport.from_json(sent.to_json()) == sent


def test_what_the_search_left_out_is_shown_with_its_reason() -> None:
    left_out = dataclasses.replace(
        RESULT, outcome=Outcome.SKIPPED, skip_reason=SkipReason.SEARCH_IS_DONE
    )
    there = TrialReport.from_json(reported(left_out, stopped="found").to_json())
    assert there.is_not_needed
    assert not reported(RESULT, stopped="found").is_not_needed


@pytest.fixture
def numeric_secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FOO_PASSWORD", "00000000")
    redactor.cache_clear()
    yield
    redactor.cache_clear()


@pytest.mark.usefixtures("numeric_secret")
def test_a_secret_of_digits_leaves_numbers_alone_and_goes_from_text() -> None:
    result = dataclasses.replace(
        RESULT, memory_limit_bytes=20_000_000_000, warnings=("it said 00000000",)
    )
    back = TrialReport.from_json(reported(result).to_json()).result
    assert back.memory_limit_bytes == 20_000_000_000
    assert back.warnings == ("it said [FOO_PASSWORD]",)
    soak = a_soak(CONFIG, Outcome.ERROR, reason="00000000", footprint_bytes=20_000_000_000)
    [soaked] = SoakReport.from_json(SoakReport("m", (soak,), None).to_json()).results
    assert (soaked.reason, soaked.footprint_bytes) == ("[FOO_PASSWORD]", 20_000_000_000)
