"""Recorded measurements: a profile of ours, or any JSON with a model and rows like a profile's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pytest_yourai.core.config import LoraConfig, Quantization, QuantizeChoice
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.files import mapping, read_document
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.stored_profile import stored_profile


@dataclass(frozen=True)
class Recording:
    """What was measured somewhere, some time, by configuration.

    `memory_limit_bytes` is None where the recording does not tell. `has_minima` says that the rows
    have minimum memory: where they have not, their peaks stand in for it.
    """

    name: str
    model: str
    results: Mapping[LoraConfig, TrialResult]
    has_minima: bool
    memory_limit_bytes: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_seq_lengths(self) -> tuple[int, ...]:
        """All that it has, in tokens, ascending."""
        return tuple(sorted({config.max_seq_length for config in self.results}))

    @property
    def grad_checkpoints(self) -> tuple[bool, ...]:
        """Without, with, or both."""
        return tuple(sorted({config.grad_checkpoint for config in self.results}))

    def configs(
        self, max_seq_lengths: Collection[int] | None, grad_checkpoint: bool | None
    ) -> list[LoraConfig]:
        """What was recorded, lightest first, of these lengths and with or without checkpointing.

        None stands for all. OptionError, naming the flag, for what was not recorded.
        """
        if missing := set(max_seq_lengths or ()).difference(self.max_seq_lengths):
            raise OptionError(
                f"--yourai-seq-length: {self.name} was recorded at "
                f"{_listed(self.max_seq_lengths)}, not at {_listed(sorted(missing))}: leave it out"
            )
        chosen = [
            config
            for config in self.results
            if (max_seq_lengths is None or config.max_seq_length in max_seq_lengths)
            and grad_checkpoint in (None, config.grad_checkpoint)
        ]
        if not chosen:
            without = "" if grad_checkpoint else "out "
            raise OptionError(
                f"--yourai-grad-checkpoint: {self.name} has nothing with{without} checkpointing: "
                "leave it out"
            )
        return lightest_first(chosen)

    @property
    def lora_keys(self) -> tuple[str, ...] | None:
        """What it says of them, or None."""
        keys = self.settings.get("lora_keys")
        return tuple(map(str, keys)) if isinstance(keys, list) and keys else None

    @property
    def quantize(self) -> QuantizeChoice:
        """What it says of the base model's quantization, or None."""
        if "quantization" not in self.settings:
            return None
        said = mapping(self.settings["quantization"])
        try:
            return Quantization(**said) if said else "none"
        except (TypeError, ValueError):
            return None


def read_recording(path: Path, usual_seq_length: int) -> Recording:
    """The recording in `path`; RecordingError, naming file and key, where it is none.

    Rows that name no sequence length take the file's `seq_length`, else `usual_seq_length`.
    """
    return parse_recording(read_document(path), path, usual_seq_length)


def parse_recording(document: Mapping[str, Any], path: Path, usual_seq_length: int) -> Recording:
    """As `read_recording`, of a document that was found in the file `path`."""
    stored = stored_profile(document, str(path), usual_seq_length)
    results = {config: each for config, each in stored.results.items() if each.started}
    if not results:
        raise RecordingError(f"{path}: all_results: none of its rows was measured: name another")
    return Recording(
        name=path.name,
        model=stored.model,
        results=results,
        has_minima=stored.has_minima,
        memory_limit_bytes=stored.memory_limit_bytes,
        settings=stored.settings,
        environment=stored.environment,
    )


def backend_of(environment: Mapping[str, Any]) -> Backend:
    """Of a recording's environment; CUDA where it does not tell, as of most foreign recordings."""
    backend = environment.get("backend")
    return next((each for each in get_args(Backend) if each == backend), "cuda")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
