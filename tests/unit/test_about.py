import dataclasses
from pathlib import Path
from typing import Any

from pytest_yourai.report.about import about
from pytest_yourai.store.stored_profile import StoredProfile, read_profiles

QUICK = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"


def changed(**others: Any) -> dict[str, str]:
    [profile] = read_profiles(QUICK)
    return dict(about(dataclasses.replace(profile, **others)))


def test_settings_are_told_in_the_words_of_the_profile() -> None:
    settings = {
        "quantization": None,
        "max_seq_length": [512, 1024],
        "grad_checkpoint": [False, True],
        "data": "rows",
        "matrix": None,
    }
    assert changed(settings=settings, memory_limit_bytes=None)["Settings"] == (
        "objective score; max_seq_length 512, 1024; grad_checkpoint off, on; data rows"
    )


def test_a_battery_and_low_power_are_told() -> None:
    environment = {"chip": "Apple M4", "device": "Apple M4", "backend": "metal"}
    power = {"power_source": "battery", "low_power_mode": True}
    assert changed(environment=environment)["Machine"] == "Apple M4 (metal)"
    assert changed(environment=environment | power)["Machine"] == (
        "Apple M4 (metal), on battery, in low-power mode"
    )


def test_soaks_are_told_with_why_they_ended() -> None:
    row = {"batch_size": 4, "lora_rank": 8, "lora_layers": 2, "minutes": 1.26, "outcome": "ok"}
    failed = {**row, "outcome": "paging", "error": "swap grew", "minutes": None}
    assert changed(soaks=(failed, row))["Soak"] == (
        "batch=4, rank=8, layers=2: paging: swap grew; batch=4, rank=8, layers=2 for 1.3 min: ok"
    )


def test_what_is_not_known_is_left_out() -> None:
    [profile] = read_profiles(QUICK)
    bare = StoredProfile("p.json", "m", profile.results, None)
    assert [name for name, _ in about(bare)] == ["Settings", "Trials"]
    odd = dataclasses.replace(bare, environment={"device": 3, "versions": [1], "chip": None})
    assert [name for name, _ in about(odd)] == ["Settings", "Trials"]
