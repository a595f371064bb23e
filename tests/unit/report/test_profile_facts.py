import math
from typing import Any

import pytest

from pytest_yourai.report.profile_facts import (
    machine,
    machine_name,
    settings,
    soak_data,
    training_data,
    versions,
)

from support.profiles import quick


def test_the_machine_is_told_with_units() -> None:
    found = dict(machine({**quick()["environment"], "low_power_mode": True}))
    assert found["Device memory"] == "150.8 GB (140 GiB)"
    assert found["Low-power mode"] == "on"
    assert "Power" not in found


def test_settings_are_words() -> None:
    found = dict(settings({**quick()["settings"], "isolation": None}))
    assert found["quantization"] == "bits 4, group_size 64, mode affine"
    assert found["timeout"] == "5 min"
    assert found["grad checkpoint"] == "off"
    assert found["lora keys"].startswith("self_attn.k_proj, ")
    assert "isolation" not in found


SOAK: dict[str, Any] = {
    "batch_size": 4,
    "lora_rank": 8,
    "lora_layers": 2,
    "outcome": "ok",
    "success": True,
    "error": None,
    "warnings": ["warm"],
    "asked_minutes": 10,
    "minutes": 10.0,
    "steps": 1500,
    "peak_memory_mb": 11.6,
    "active_growth_mb_per_step": 0.0,
    "slowdown": 1.02,
}


def test_a_soak_says_how_long_it_lasted() -> None:
    found = soak_data(SOAK)
    assert found["name"] == "batch=4, rank=8, layers=2"
    facts = dict(found["facts"])
    assert facts["Lasted"] == "10 min of 10 min"
    assert facts["Steps"] == "1,500"
    assert facts["Peak"] == "11.6 MB"
    assert facts["Last tenth over first"] == "× 1.02"


def test_the_lengths_of_training_data_are_bars() -> None:
    bars = [{"from": 1, "to": 32, "rows": 7}, {"from": 33, "to": None, "rows": 2}]
    found = training_data({"rows": 9, "median": 12.0, "histogram": bars})
    assert found is not None
    assert found["facts"] == [("Rows", "9"), ("Median row", "12 tokens")]
    assert found["bars"] == [{"name": "1–32", "rows": 7}, {"name": "over 32", "rows": 2}]
    assert training_data({}) is None


@pytest.mark.parametrize(
    "odd", [None, "x", 7, [], {}, [{}], {"a": [1]}, True, math.inf, -math.nan, 10**400]
)
def test_what_is_no_such_value_is_left_out_or_said_as_it_is(odd: Any) -> None:
    keys = (
        "device",
        "device_memory_bytes",
        "versions",
        "rows",
        "histogram",
        "error",
        "minutes",
        "x_s",
    )
    found: dict[str, Any] = dict.fromkeys((*SOAK, *keys), odd)
    machine(found)
    machine_name(found)
    settings(found)
    versions(found)
    soak_data(found)
    training_data(found)
