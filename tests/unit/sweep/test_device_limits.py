"""What ends a step on a Mac although the memory suffices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import Inspection, ModelSource
from pytest_yourai.sweep.device_limits import limit_notes, over_a_limit

from support.metal_reports import MetalReport, metal_reports

M1 = DeviceInfo("metal", "Apple M1", 11_453_251_584, None, "0", "0", 8_589_934_592, 499_000)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
}
MAMBA = {"model_type": "mamba", "num_hidden_layers": 24, "hidden_size": 768, "vocab_size": 50_280}
LINEARS = tuple(LinearShape(str(number), 1, 1) for number in range(7))
INSPECTED = Inspection(32, 8_000_000_000, {}, {"all": InspectedShapes(0, LINEARS, ())})
CONFIG = LoraConfig(4, 8, 32, 2049, lora_keys="all")


def source(architecture: dict[str, Any]) -> ModelSource:
    return ModelSource("m", architecture, None, True, None, ("all",))


def test_a_recurrent_model_with_too_many_states_is_refused() -> None:
    found = over_a_limit(
        dataclasses.replace(CONFIG, max_seq_length=16_385), source(MAMBA), INSPECTED, M1
    )
    assert found is not None
    assert found[0].startswith("a step holds more than 788,")
    assert found[0].endswith("arrays, and Metal allows 499,000 on this machine")
    assert "max_seq_length" in found[1]
    assert over_a_limit(CONFIG, source(MAMBA), INSPECTED, M1) is None
    unlimited = dataclasses.replace(M1, max_buffers=None)
    long = dataclasses.replace(CONFIG, batch_size=1, max_seq_length=16_385)
    assert over_a_limit(long, source(MAMBA), INSPECTED, unlimited) is None


def test_an_array_that_is_too_large_is_refused() -> None:
    long = dataclasses.replace(CONFIG, max_seq_length=8193)
    found = over_a_limit(long, source(LLAMA), INSPECTED, M1)
    assert found is not None
    assert found[0].startswith("its attention scores are one array of 17.2 GB")
    assert over_a_limit(CONFIG, source(LLAMA), INSPECTED, M1) is None
    short = dataclasses.replace(INSPECTED, data=TrainingData((100,) * 8))
    assert over_a_limit(long, source(LLAMA), short, M1) is None, "no row is so long"


@pytest.mark.parametrize(
    ("device", "display", "batch", "told"),
    [
        (M1, True, 4, True),
        (M1, False, 4, False),
        (M1, None, 4, False),
        (dataclasses.replace(M1, name="Apple M3 Ultra"), True, 4, False),
        (dataclasses.replace(M1, backend="cuda"), True, 4, False),
    ],
)
def test_a_display_that_would_wait_is_told(
    device: DeviceInfo, display: bool | None, batch: int, told: bool
) -> None:
    config = dataclasses.replace(CONFIG, batch_size=batch)
    smaller = dataclasses.replace(CONFIG, batch_size=1)
    notes = list(limit_notes([smaller, config], source(LLAMA), INSPECTED, device, lambda: display))
    assert len(notes) == told
    if told:
        assert notes[0].startswith(
            "a display is on, and the product with the vocabulary takes about 5.5s at a time"
        )
        assert "pmset displaysleepnow" in notes[0]


def test_the_display_is_looked_at_only_for_long_operations() -> None:
    def look() -> bool:
        raise AssertionError("system_profiler takes a second")

    short = dataclasses.replace(CONFIG, batch_size=1, max_seq_length=65)
    assert list(limit_notes([short], source(LLAMA), INSPECTED, M1, look)) == []
    assert list(limit_notes([], source(LLAMA), INSPECTED, M1, look)) == []


def test_data_of_too_many_lengths_is_told() -> None:
    lengths = tuple(range(2, 1_000))
    data = dataclasses.replace(INSPECTED, data=TrainingData(lengths))
    config = dataclasses.replace(CONFIG, batch_size=1, max_seq_length=1025)
    quiet = dataclasses.replace(M1, max_buffers=10_500)
    assert list(limit_notes([config], source(LLAMA), data, quiet, lambda: False)) == []
    few = dataclasses.replace(M1, max_buffers=9_000)
    [note] = limit_notes([config], source(LLAMA), data, few, lambda: False)
    assert note.startswith(
        "an epoch of this data compiles 32 shapes, which hold about 9,760 arrays"
    )
    assert "--reload-interval" in note
    twice = dataclasses.replace(config, grad_accumulation_steps=4)
    assert len(list(limit_notes([twice], source(LLAMA), data, quiet, lambda: False))) == 1
    nobody_knows = dataclasses.replace(M1, max_buffers=None)
    assert list(limit_notes([config], source(LLAMA), data, nobody_knows, lambda: False)) == []


REPORTED = [each for each in metal_reports() if str(each.row["outcome"]).startswith("ok")]


def mac_of(report: MetalReport) -> DeviceInfo:
    """With three quarters of a 16 GB Mac's working set for one array, the least of any Mac."""
    memory = report.row["ram_gib"] or 16
    most = round(3 / 4 * 2 / 3 * memory * (1 << 30))
    return DeviceInfo("metal", report.row["machine"] or "", None, None, "0", "0", most, 499_000)


@pytest.mark.parametrize("report", REPORTED, ids=str)
def test_what_people_reported_to_run_is_neither_refused_nor_warned_of(report: MetalReport) -> None:
    row = report.row
    config = LoraConfig(
        row["batch_size"], row["rank"], row["lora_layers"], report.longest, lora_keys="all"
    )
    model, device = source(row["architecture_config"]), mac_of(report)
    if (bits := row["quantization_bits"]) in (4, 8):
        model = dataclasses.replace(model, quantization=Quantization(bits, 64))
    assert over_a_limit(config, model, INSPECTED, device) is None
    known = dataclasses.replace(config, max_seq_length=report.shortest)
    assert list(limit_notes([known], model, INSPECTED, device, lambda: True)) == []


def test_recurrent_models_are_told_to_reload() -> None:
    short = dataclasses.replace(CONFIG, batch_size=1, max_seq_length=65)
    [note] = limit_notes([short], source(MAMBA), INSPECTED, M1, lambda: False)
    assert note.endswith("train with yourai train --reload-interval 200")
    on_cuda = dataclasses.replace(M1, backend="cuda")
    assert list(limit_notes([short], source(MAMBA), INSPECTED, on_cuda, lambda: False)) == []
