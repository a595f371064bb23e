"""Which of several that have a say decides about each value of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai import config
from pytest_yourai.training.checkpoint import Checkpoint, decided
from pytest_yourai.training.options import FLAGS, TrainOptions
from pytest_yourai.training.profile_choice import ChosenProfile

DEFAULTS: Mapping[str, Any] = {
    "batch_size": 4,
    "rank": 8,
    "num_layers": 16,
    "grad_checkpoint": False,
    "learning_rate": config.LEARNING_RATE,
    "max_steps": 1000,
    "seed": config.SEED,
    "mask_prompt": False,
    "save_every": 100,
    "memory_report_interval": 10,
    "steps_per_eval": 200,
    "val_batches": 25,
}
"""mlx-lm's (mlx_lm.lora.CONFIG_DEFAULTS), by the names of the options."""


@dataclass(frozen=True)
class Voice:
    """What one source says of options, by their names; None, or nothing, where it says nothing."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """What a profile decides, or a sweep without an optimum; `warnings` for people."""

    voice: Voice
    profile: ChosenProfile | None = None
    warnings: tuple[str, ...] = ()


class Choices:
    """The values of a run: each is that of the first voice that has one."""

    def __init__(
        self,
        options: TrainOptions,
        checkpoint: Checkpoint | None,
        decision: Decision | None,
        max_seq_length: int,
    ) -> None:
        """`max_seq_length` is the model's usual one, in tokens."""
        self._options = options
        self._voices = [
            *([Voice("checkpoint", decided(checkpoint))] if checkpoint else []),
            *([decision.voice] if decision else []),
            Voice("default", {**DEFAULTS, "max_seq_length": max_seq_length}),
        ]

    def value(self, name: str) -> Any:
        """None where nobody has one."""
        return self._found(name)[0]

    def origin(self, name: str) -> str:
        """The flag, or who else decided; `default` also for what nobody has a say in."""
        return self._found(name)[1]

    def is_given(self, name: str) -> bool:
        """Whether a flag decides."""
        return getattr(self._options, name) is not None

    def _found(self, name: str) -> tuple[Any, str]:
        asked = getattr(self._options, name)
        if asked is not None:
            flag = FLAGS[name]
            return asked, flag if asked is not False else flag.replace("--", "--no-", 1)
        for voice in self._voices:
            if (value := voice.values.get(name)) is not None:
                return value, voice.origin
        return None, "default"


def voice_of(profile: ChosenProfile, origin: str, *, is_of_this_model: bool) -> Voice:
    """What `profile` says; the keys of another model may name nothing in this one."""
    config = profile.config
    return Voice(
        origin,
        {
            "batch_size": config.batch_size,
            "rank": config.rank,
            "num_layers": config.num_layers,
            "max_seq_length": config.max_seq_length,
            "grad_checkpoint": config.grad_checkpoint,
            "lora_keys": profile.recording.lora_keys if is_of_this_model else None,
            "quantize": profile.recording.quantize,
        },
    )
