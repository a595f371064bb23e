"""Takes each value of a run from the first source that has it, and says which that is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.training.checkpoint import Checkpoint
from pytest_yourai.training.options import DEFAULTS, VALUE_OPTIONS, TrainOptions, TrainValues

_DEFAULT = "default"


@dataclass(frozen=True)
class ChosenConfig:
    """The values of a profile, or of a sweep without an optimum, and where they come from."""

    origin: str
    values: TrainValues
    profile: StoredProfile | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_profile(
        cls, profile: StoredProfile, origin: str, *, is_of_this_model: bool
    ) -> ChosenConfig:
        """The optimum of `profile`, without the LoRA keys of another model."""
        values = TrainValues(
            **(dataclasses.asdict(profile.optimum.config) if profile.optimum else {}),
            lora_keys=profile.settings.lora_keys if is_of_this_model else None,
            quantize=profile.settings.quantization,
        )
        return cls(origin, values, profile)


class Choices:
    """The options as a flag, the checkpoint, the chosen configuration or the defaults decide.

    The first of these that has a value counts; `values` has None where none has.
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
            *([("checkpoint", checkpoint)] if checkpoint else []),
            *([(chosen.origin, chosen.values)] if chosen else []),
            (_DEFAULT, dataclasses.replace(DEFAULTS, max_seq_length=max_seq_length)),
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
        for origin, values in self._sources:
            if (value := getattr(values, name)) is not None:
                return value, origin
        return None, _DEFAULT
