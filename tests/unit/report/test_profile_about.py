import dataclasses
from pathlib import Path
from typing import Any

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.report.profile_facts import about
from pytest_yourai.store.profile_reader import read_profiles
from pytest_yourai.store.stored_profile import StoredProfile

from support.profiles import a_soak

QUICK = Path(__file__).parents[2] / "data" / "h200_llama8b_quick.json"


def changed(**others: Any) -> dict[str, str]:
    [profile] = read_profiles(QUICK)
    return dict(about(dataclasses.replace(profile, **others)))


def test_machine_versions_limit_and_settings_are_a_line_each() -> None:
    found = changed(
        settings=SweepSettings(
            recipe={"max_seq_length": [512, 1024], "grad_checkpoint": [False, True]}
        )
    )
    assert found["Machine"].startswith("Device NVIDIA H200; MLX backend cuda; Device memory 150.8 ")
    assert found["Versions"] == "python 3.12.3; mlx 0.32.4; mlx-lm 0.32.2"
    assert found["Budget"] == "110.0 GB"
    assert found["Settings"] == "max seq length 512, 1024; grad checkpoint off, on"


def test_an_interrupted_run_is_shown_as_such() -> None:
    assert changed()["Measured"] == "2026-11-21 09:08 UTC"
    found = changed(complete=False, created_at=None)
    assert found["Measured"] == "incomplete: the run was interrupted"


def test_soaks_are_shown_with_why_they_ended() -> None:
    config = LoraConfig(4, 8, 2, 512)
    failed = a_soak(config, Outcome.SAFETY_STOP, reason="swap grew", slowdown=None)
    first, second = changed(soaks=(failed, a_soak(config)))["Soak"].split("; ")
    assert first.startswith("batch=4, rank=8, layers=2: safety stop: swap grew (Lasted ")
    assert second.startswith("batch=4, rank=8, layers=2: ok (Lasted 10 min of 10 min, Steps 1,234")


def test_what_is_not_known_is_left_out() -> None:
    [profile] = read_profiles(QUICK)
    bare = StoredProfile("p.json", "m", profile.results, None)
    assert [name for name, _ in about(bare)] == ["Trials"]
    first = dict([next(iter(profile.results.items()))])
    assert list(about(dataclasses.replace(bare, results=first))) == []
