"""Which of several that have a say decides about each value of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core import config
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.training.checkpoint import Checkpoint, decided
from pytest_yourai.training.measured_profile import ChosenProfile, ProfileDifferences
from pytest_yourai.training.settings import FLAGS, MeasuredBaseline, TrainOptions

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
class ValueSource:
    """What one source says of options, by their names; None, or nothing, where it says nothing."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class ChosenConfig:
    """What a profile decides, or a sweep without an optimum; `warnings` for people."""

    voice: ValueSource
    profile: ChosenProfile | None = None
    warnings: tuple[str, ...] = ()


class Choices:
    """The values of a run: each is that of the first voice that has one."""

    def __init__(
        self,
        options: TrainOptions,
        checkpoint: Checkpoint | None,
        decision: ChosenConfig | None,
        max_seq_length: int,
    ) -> None:
        """`max_seq_length` is the model's usual one, in tokens."""
        self._options = options
        self._voices = [
            *([ValueSource("checkpoint", decided(checkpoint))] if checkpoint else []),
            *([decision.voice] if decision else []),
            ValueSource("default", {**DEFAULTS, "max_seq_length": max_seq_length}),
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


def source_of(profile: ChosenProfile, origin: str, *, is_of_this_model: bool) -> ValueSource:
    """What `profile` says; the keys of another model may name nothing in this one."""
    config = profile.config
    return ValueSource(
        origin,
        {
            "batch_size": config.batch_size,
            "rank": config.rank,
            "num_layers": config.num_layers,
            "max_seq_length": config.max_seq_length,
            "grad_checkpoint": config.grad_checkpoint,
            "lora_keys": profile.recording.settings.lora_keys if is_of_this_model else None,
            "quantize": profile.recording.settings.quantization,
        },
    )


@dataclass(frozen=True)
class Limit:
    """The budget in bytes, None for what is detected; who says so, and what is to be warned of."""

    bytes: int | None = None
    origin: str = "default"
    warnings: tuple[str, ...] = ()


def memory_limit(
    choices: Choices, decision: ChosenConfig | None, differing: ProfileDifferences | None
) -> Limit:
    """A profile's where it was measured on this machine; what nobody asks for now must be there."""
    found = Limit(choices.value("memory_limit_bytes"), choices.origin("memory_limit_bytes"))
    if choices.is_given("memory_limit_bytes"):
        return found
    profile = decision.profile if decision else None
    if found.bytes is None and decision and profile and differing and differing.machine is None:
        found = Limit(profile.recording.memory_limit_bytes, decision.voice.origin)
    if found.bytes is None:
        return Limit()
    # Memory of a CUDA device is its own, and only MLX can tell how much there is.
    here_bytes = read_system_memory().usable_bytes
    if found.bytes <= here_bytes or environment.installed_backend() == "cuda":
        return found
    warning = (
        f"the memory limit of {gigabytes(found.bytes)} ({found.origin}) is more than the "
        f"{gigabytes(here_bytes)} that there are here: it is detected anew"
    )
    return Limit(warnings=(warning,))


def measured_baseline(
    checkpoint: Checkpoint | None,
    config: LoraConfig,
    decision: ChosenConfig | None,
    differing: ProfileDifferences | None,
) -> tuple[MeasuredBaseline | None, str]:
    """What was measured of `config`, and who says so."""
    if checkpoint and checkpoint.promise and checkpoint.grad_checkpoint == config.grad_checkpoint:
        return checkpoint.promise, "checkpoint"
    profile = decision.profile if decision else None
    is_same = differing is not None and not differing.changes_what_runs
    if decision and profile and is_same and (promise := profile.promise(config)):
        return promise, decision.voice.origin
    return None, "nothing was measured for this configuration"
