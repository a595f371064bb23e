"""The command that trains with the optimum of a profile."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_yourai.paths import packaged_models
from pytest_yourai.presets import read_presets
from pytest_yourai.store.stored_profile import StoredProfile

_NO_MODEL = "MODEL"
_NO_DATA = "FOLDER"


@dataclass(frozen=True)
class TrainingCommand:
    """What a person runs, and what is to be known or filled in first."""

    text: str
    notes: tuple[str, ...]


def training_command(profile: StoredProfile) -> TrainingCommand | None:
    """None where the profile has no optimum to train with."""
    if profile.optimum is None:
        return None
    preset = read_presets(packaged_models()).get(profile.model)
    model = profile.model if preset else _NO_MODEL
    command = ["yourai", "train", "--model", model, "--profile", profile.name]
    is_dry = preset is not None and preset.repo is None
    if is_dry or profile.settings.get("weights") == "synthetic":
        command += ["--weights", "synthetic" if is_dry else "hub"]
    data = profile.settings.get("data")
    if isinstance(data, str) and data:
        command += ["--data", data]
    elif not is_dry:
        command += ["--data", _NO_DATA]
    return TrainingCommand(shlex.join(command), tuple(_notes(profile, command)))


def _notes(profile: StoredProfile, command: list[str]) -> Iterator[str]:
    if _NO_MODEL in command:
        yield f"{_NO_MODEL} is the folder or the owner/name that {profile.model} was read from."
    if _NO_DATA in command:
        yield f"{_NO_DATA} has a train.jsonl; the name of a Hugging Face data set will do as well."
    if "hub" in command:
        yield "It was measured with made-up weights: --weights hub downloads the real ones."
    if "synthetic" in command:
        yield "A dry run: this model has made-up weights alone."
