"""What a run takes over from what was measured before it: its memory limit, and its promise."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_yourai.config import LoraConfig
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.store import environment
from pytest_yourai.training.checkpoint import Checkpoint
from pytest_yourai.training.choices import Choices, Decision
from pytest_yourai.training.profile_choice import Differences
from pytest_yourai.training.settings import Promise
from pytest_yourai.units import gigabytes


@dataclass(frozen=True)
class Limit:
    """The budget in bytes, None for what is detected; who says so, and what is to be warned of."""

    bytes: int | None = None
    origin: str = "default"
    warnings: tuple[str, ...] = ()


def memory_limit(
    choices: Choices, decision: Decision | None, differing: Differences | None
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


def promised(
    checkpoint: Checkpoint | None,
    config: LoraConfig,
    decision: Decision | None,
    differing: Differences | None,
) -> tuple[Promise | None, str]:
    """What was measured of `config`, and who says so."""
    if checkpoint and checkpoint.promise and checkpoint.grad_checkpoint == config.grad_checkpoint:
        return checkpoint.promise, "checkpoint"
    profile = decision.profile if decision else None
    is_same = differing is not None and not differing.changes_what_runs
    if decision and profile and is_same and (promise := profile.promise(config)):
        return promise, decision.voice.origin
    return None, "nothing was measured for this configuration"
