"""The value of each option of a run: from a flag, a checkpoint, a profile or a default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.training.checkpoint import Checkpoint
from pytest_yourai.training.measured_profile import ProfileDifferences, baseline_of
from pytest_yourai.training.options import DEFAULTS, VALUE_OPTIONS, TrainOptions, TrainValues
from pytest_yourai.training.settings import MeasuredBaseline

_Value = TypeVar("_Value")

_DEFAULT = "default"


@dataclass(frozen=True)
class ValueSource:
    """Values, and the name of the place that they come from."""

    origin: str
    values: TrainValues


@dataclass(frozen=True)
class ChosenConfig:
    """The configuration of a profile, or of a sweep without an optimum."""

    source: ValueSource
    profile: StoredProfile | None = None
    warnings: tuple[str, ...] = ()


class Choices:
    """Takes each value from the first source that has it.

    `values` are those of all sources together, None where no source has one.
    """

    def __init__(
        self,
        options: TrainOptions,
        checkpoint: Checkpoint | None,
        chosen: ChosenConfig | None,
        max_seq_length: int,
    ) -> None:
        """`max_seq_length` is the model's default, in tokens."""
        self._options = options
        self._sources = [
            *([ValueSource("checkpoint", checkpoint)] if checkpoint else []),
            *([chosen.source] if chosen else []),
            ValueSource(_DEFAULT, dataclasses.replace(DEFAULTS, max_seq_length=max_seq_length)),
        ]
        self.values = TrainValues(**{name: self._find(name)[0] for name in VALUE_OPTIONS})

    def origin(self, name: str) -> str:
        """The flag or the source that decides; the default also for what has no value."""
        return self._find(name)[1]

    def is_given(self, name: str) -> bool:
        """True if a flag decides."""
        return getattr(self._options, name) is not None

    def _find(self, name: str) -> tuple[Any, str]:
        asked = getattr(self._options, name)
        if asked is not None:
            option = VALUE_OPTIONS[name]
            return asked, option.negation if asked is False else option.flag
        for source in self._sources:
            if (value := getattr(source.values, name)) is not None:
                return value, source.origin
        return None, _DEFAULT


def decided(value: _Value | None) -> _Value:
    """A value that is known to be there, such as that of an option with a default."""
    if value is None:
        raise TypeError("a value is missing")
    return value


def profile_source(profile: StoredProfile, origin: str, *, is_of_this_model: bool) -> ValueSource:
    """The values of a profile's optimum, without the LoRA keys of another model."""
    config = decided(profile.optimum).config
    return ValueSource(
        origin,
        TrainValues(
            batch_size=config.batch_size,
            rank=config.rank,
            num_layers=config.num_layers,
            max_seq_length=config.max_seq_length,
            grad_checkpoint=config.grad_checkpoint,
            lora_keys=profile.settings.lora_keys if is_of_this_model else None,
            quantize=profile.settings.quantization,
        ),
    )


@dataclass(frozen=True)
class Limit:
    """The memory budget in bytes, None to detect it; where it comes from, and warnings."""

    bytes: int | None = None
    origin: str = _DEFAULT
    warnings: tuple[str, ...] = ()


def memory_limit(
    choices: Choices, chosen: ChosenConfig | None, differing: ProfileDifferences | None
) -> Limit:
    """The budget; a profile's only if it was measured here, and unless the machine has less."""
    found = Limit(choices.values.memory_limit_bytes, choices.origin("memory_limit_bytes"))
    if choices.is_given("memory_limit_bytes"):
        return found
    profile = chosen.profile if chosen else None
    if found.bytes is None and chosen and profile and differing and differing.machine is None:
        found = Limit(profile.memory_limit_bytes, chosen.source.origin)
    if found.bytes is None:
        return Limit()
    # Memory of a CUDA device is its own, and only MLX can tell how much there is.
    here_bytes = read_system_memory().usable_bytes
    if found.bytes <= here_bytes or environment.installed_backend() == "cuda":
        return found
    warning = (
        f"the memory limit of {gigabytes(found.bytes)} ({found.origin}) is more than this "
        f"machine's {gigabytes(here_bytes)}: it is detected anew"
    )
    return Limit(warnings=(warning,))


def measured_baseline(
    checkpoint: Checkpoint | None,
    config: LoraConfig,
    chosen: ChosenConfig | None,
    differing: ProfileDifferences | None,
) -> tuple[MeasuredBaseline | None, str]:
    """Measurements of `config`, and where they come from."""
    before = checkpoint.baseline if checkpoint else None
    if checkpoint and before and checkpoint.grad_checkpoint == config.grad_checkpoint:
        return before, "checkpoint"
    profile = chosen.profile if chosen else None
    is_same = differing is not None and not differing.changes_what_runs
    if chosen and profile and is_same and (measured := baseline_of(profile, config)):
        return measured, chosen.source.origin
    return None, "nothing was measured for this configuration"
