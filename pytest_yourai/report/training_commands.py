"""The commands that train with the answers of a sweep."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.answers import Answers, Pick
from pytest_yourai.core.axes import MAX_SEQ_LENGTH, SIZES, value_text
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.shell import command_line
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.store.stored_profile import StoredProfile

_NO_MODEL = "MODEL"

_NO_DATA = "FOLDER"

_NO_HOSTS = "HOSTS"

OF_RECIPE = ""
"""The data of a command whose recipe names it."""


def train_words(
    model: str,
    profile: str,
    *,
    is_made_up: bool,
    has_weights: bool,
    data: str | None,
    reading: Sequence[str],
    recipe: Path | None = None,
    presets: Path | None = None,
    hosts: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> list[str]:
    """The words of a `yourai train`: a dry run if the model has no real weights.

    `data` is that of a flag; a `recipe` may name its own.
    """
    words = ["yourai", "train", "--model", model, "--profile", profile]
    if recipe is not None:
        words += ["--config", str(recipe)]
    if presets is not None:
        words += ["--models", str(presets)]
    words += hosts
    if is_made_up:
        words += ["--weights", "hub" if has_weights else "synthetic"]
    if trust_remote_code:
        words.append("--trust-remote-code")
    if data == OF_RECIPE:
        words += reading
    elif data:
        words += ["--data", data, *reading]
    elif has_weights or not is_made_up:
        words += ["--data", _NO_DATA]
    return words


def reading_flags(bad_rows: str | None, mask_prompt: bool | None) -> list[str]:
    """The flags of `yourai train` that read the rows as the sweep did."""
    skips = ["--bad-rows", "skip"] if bad_rows == "skip" else []
    return skips + (["--mask-prompt"] if mask_prompt else [])


def picks(answers: Answers, first: TrialResult | None) -> Iterator[tuple[TrialResult, list[str]]]:
    """Each answer and the flag that picks it, beginning with the `first`."""
    found = sorted(answers, key=lambda each: each[1] is not first)
    for names, result in found:
        yield result, ["--pick", names[0]] if len(found) > 1 else []


def shorter_rows_words(config: LoraConfig, naming: ConfigLabels) -> list[str]:
    """The flags of `yourai train` for a configuration that a profile may not have.

    What is the same in all of a profile's comes from there.
    """
    words: list[str] = []
    for axis in dict.fromkeys((*SIZES, *naming.varying, MAX_SEQ_LENGTH)):
        if axis.metavar is None:
            words.append(f"--{'' if axis.of(config) else 'no-'}{axis.flag}")
        elif axis.applies_to(config):
            words += [f"--{axis.flag}", value_text(axis.of(config))]
    return words


@dataclass(frozen=True)
class TrainingCommand:
    """A command, and notes on placeholders in it and on its weights.

    `result` is the configuration that it trains, `names` which of the answers that is.
    """

    text: str
    notes: tuple[str, ...]
    names: tuple[Pick, ...]
    result: TrialResult


def training_commands(profile: StoredProfile) -> list[TrainingCommand]:
    """The commands that train with the answers of a profile, beginning with the headline."""
    words = _words_for(profile)
    notes = tuple(_notes(profile, words))
    return [
        TrainingCommand(command_line(*words, *pick), notes, profile.answers.names(result), result)
        for result, pick in picks(profile.answers, profile.headline)
    ]


def shorter_rows_commands(profile: StoredProfile) -> list[str]:
    """The command that trains with each of the shorter rows that a profile offers."""
    offers = profile.data.shorter_rows if profile.data else []
    if not offers:
        return []
    words = _words_for(profile)
    return [
        command_line(*words, *shorter_rows_words(each.config, profile.naming)) for each in offers
    ]


def _words_for(profile: StoredProfile) -> list[str]:
    """The words of a `yourai train` with a profile that may come from anywhere."""
    settings, data = profile.settings, profile.settings.data
    presets = Path(settings.presets_file) if settings.presets_file else None
    is_own = settings.model is not None or presets is not None
    preset = None if is_own else _packaged_presets().get(profile.model)
    model = profile.model if preset or presets else settings.model or _NO_MODEL
    has_weights = preset.repo is not None if preset else not is_own
    if presets is not None:
        has_weights = settings.model is not None
    recipe = Path(settings.recipe_file) if settings.recipe_file else None
    if settings.recipe.get("hf_dataset"):  # of which `data` is a name for people
        data = None if recipe is None else OF_RECIPE
    return train_words(
        model,
        profile.name,
        is_made_up=settings.weights == "synthetic" or not (has_weights or settings.model),
        has_weights=has_weights,
        data=data,
        reading=reading_flags(settings.bad_rows, settings.recipe.get("mask_prompt")),
        recipe=recipe,
        presets=presets,
        hosts=["--hosts", _NO_HOSTS] if settings.ranks > 1 else [],
    )


@functools.cache
def _packaged_presets() -> Mapping[str, Preset]:
    return read_presets(packaged_models())


def _notes(profile: StoredProfile, command: list[str]) -> Iterator[str]:
    if _NO_MODEL in command:
        yield f"{_NO_MODEL} is the folder or the owner/name that {profile.model} was read from."
    if _NO_DATA in command:
        yield f"{_NO_DATA} has a train.jsonl; the name of a Hugging Face data set works, too."
    if _NO_HOSTS in command:
        ranks = profile.settings.ranks
        yield f"{_NO_HOSTS} is mlx.launch's hostfile, or {ranks} for ranks of this machine."
    if "hub" in command:
        yield "It was measured with made-up weights: --weights hub downloads the real ones."
    if "synthetic" in command:
        yield "A dry run: this model has made-up weights alone."
