"""The command that trains with the optimum of a profile."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_yourai.paths import packaged_models
from pytest_yourai.presets import read_presets
from pytest_yourai.report.page.sources import Shown

_NO_MODEL = "MODEL"
_NO_DATA = "DATA"


@dataclass(frozen=True)
class TrainingCommand:
    """What a person runs, and what is to be known or filled in first."""

    text: str
    notes: tuple[str, ...]


def training_command(shown: Shown) -> TrainingCommand | None:
    """None where the profile has no optimum to train with."""
    profile = shown.profile
    if profile.optimum is None:
        return None
    preset = read_presets(packaged_models()).get(profile.model)
    model = profile.model if preset else _NO_MODEL
    said = profile.settings.get("data")
    data = said if isinstance(said, str) and said else _NO_DATA
    made_up = preset is not None and preset.repo is None and data == _NO_DATA
    what = ["--weights", "synthetic"] if made_up else ["--data", data]
    command = ["yourai", "train", "--model", model, *what, "--profile", shown.path]
    return TrainingCommand(shlex.join(command), tuple(_notes(shown, model, what)))


def _notes(shown: Shown, model: str, what: list[str]) -> Iterator[str]:
    if model == _NO_MODEL:
        yield f"{_NO_MODEL} is the folder or the owner/name that {shown.profile.model} was read from."
    if _NO_DATA in what:
        yield f"{_NO_DATA} is a folder with a train.jsonl, or a Hugging Face data set."
    if "synthetic" in what:
        yield "A dry run: this model has made-up weights alone."
    elif shown.profile.settings.get("weights") == "synthetic":
        yield "Measured with made-up weights: --weights hub downloads the real ones."
