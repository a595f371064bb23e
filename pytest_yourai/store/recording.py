"""Recorded measurements to replay: a profile, or other JSON with a model and such rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import get_args

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig, RowShape
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.files import read_document
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.store.stored_profile import StoredProfile, stored_profile


def read_recording(path: Path, usual_seq_length: int) -> StoredProfile:
    """The recording in `path`, by the name of the file alone.

    RecordingError, naming file and key, if nothing in it was measured. Rows without a sequence
    length have the file's `seq_length`, else `usual_seq_length`, in tokens.
    """
    found = stored_profile(read_document(path), str(path), usual_seq_length)
    if not found.measured:
        raise RecordingError(f"{path}: all_results: none of its rows was measured: name another")
    return dataclasses.replace(found, name=path.name)


def recorded_configs(recording: StoredProfile, shapes: Collection[RowShape]) -> list[LoraConfig]:
    """The measured configurations with rows of `shapes`, lightest first.

    OptionError, naming the flag, for what was not recorded.
    """
    lengths = recording.measured_lengths
    if missing := {shape.max_seq_length for shape in shapes}.difference(lengths):
        raise OptionError(
            f"--yourai-seq-length: {recording.name} was recorded at {_listed(lengths)}, not at "
            f"{_listed(sorted(missing))}: leave it out"
        )
    chosen = [config for config in recording.measured if config.row_shape in shapes]
    if not chosen:
        without = "" if all(shape.grad_checkpoint for shape in shapes) else "out "
        raise OptionError(
            f"--yourai-grad-checkpoint: {recording.name} has nothing with{without} checkpointing: "
            "leave it out"
        )
    return lightest_first(chosen)


def backend_of(environment: Environment) -> Backend:
    """The backend of a recording; CUDA, as of most foreign ones, where it is not named."""
    return next((each for each in get_args(Backend) if each == environment.backend), "cuda")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
