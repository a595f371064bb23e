import math
from typing import Any

import pytest

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.report.profile_facts import (
    about,
    machine,
    machine_name,
    settings,
    soak_data,
    training_data,
)
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.store.data_rows import DataRow
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.schema import read_leniently

from support.profiles import a_soak, quick, stored


def test_the_machine_is_shown_with_units() -> None:
    document = {**quick()["environment"], "low_power_mode": True}
    found = dict(machine(read_leniently(Environment, document)))
    assert found["Device memory"] == "150.8 GB (140 GiB)"
    assert found["Low-power mode"] == "on"
    assert "Power" not in found


def test_settings_are_words() -> None:
    found = dict(settings(stored(lambda each: each["settings"].update(isolation=None)).settings))
    assert found["quantization"] == "bits 4, group_size 64, mode affine"
    assert found["timeout"] == "5 min"
    assert found["grad checkpoint"] == "off"
    assert found["lora keys"].startswith("self_attn.k_proj, ")
    assert "isolation" not in found


def test_a_soak_says_how_long_it_lasted() -> None:
    config = LoraConfig(4, 8, 2, 64)
    soak = a_soak(config, duration_s=600.0, steps=1500, peak_memory_bytes=11_600_000, slowdown=1.02)
    found = soak_data(soak, ConfigLabels.of([config]))
    assert found["name"] == "batch=4, rank=8, layers=2"
    facts = dict(found["facts"])
    assert facts["Lasted"] == "10 min of 10 min"
    assert facts["Steps"] == "1,500"
    assert facts["Peak"] == "11.6 MB"
    assert facts["Last tenth over first"] == "× 1.02"


def test_a_soak_is_named_with_all_axes() -> None:
    configs = [LoraConfig(4, 8, 2, length, grad_checkpoint=length > 64) for length in (64, 128)]
    found = soak_data(a_soak(configs[1]), ConfigLabels.of(configs))
    assert found["name"] == ConfigLabels.of(configs).name(configs[1])
    assert "128" in found["name"]
    assert found["name"] != soak_data(a_soak(configs[0]), ConfigLabels.of(configs))["name"]


def test_the_lengths_of_training_data_are_bars() -> None:
    bars = [{"from": 1, "to": 32, "rows": 7}, {"from": 33, "to": None, "rows": 2}]
    document = {"rows": 9, "median": 12.0, "histogram": bars}
    found = training_data(read_leniently(DataRow, document))
    assert found is not None
    assert found["facts"] == [("Rows", "9"), ("Median row", "12 tokens")]
    assert found["bars"] == [{"name": "1–32", "rows": 7}, {"name": "over 32", "rows": 2}]
    assert training_data(None) is None


def test_shorter_rows_are_texts_with_commands() -> None:
    row = {
        **configuration(LoraConfig(1, 8, 4, 512)),
        "rows_cut": 3,
        "rows_cut_share": 0.03,
        "tokens_cut_share": 0.01,
        "minimum_memory_gb": 8.6,
        "instead_of_gb": 14.1,
        "command": "yourai train",
    }
    found = training_data(read_leniently(DataRow, {"rows": 9, "shorter_rows": [row]}))
    assert found is not None
    [offer] = found["shorter_rows"]
    assert offer["text"].startswith("512: 3 % of rows cut (1 % of tokens), needs 8.6 instead of")
    assert offer["command"] == "yourai train"


ODD: list[Any] = [None, "x", 7, [], {}, [{}], {"a": [1]}, True, math.inf, -math.nan, 10**400]


@pytest.mark.parametrize("odd", ODD)
def test_values_of_another_type_count_as_missing(odd: Any) -> None:
    document = quick()
    for part in ("settings", "environment", "data"):
        document[part] = dict.fromkeys(document[part] or ["rows", "histogram"], odd)
    document["soak"] = [odd, dict.fromkeys(("steps", "minutes"), odd)]
    [found] = profiles_in(document, "p.json")
    assert found.soaks == ()
    machine(found.environment)
    machine_name(found.environment)
    settings(found.settings)
    training_data(found.data)
    assert "Measured" in dict(about(found))
    for part in ("settings", "environment", "data", "soak"):
        document[part] = odd
    assert len(profiles_in(document, "p.json")) == 1
