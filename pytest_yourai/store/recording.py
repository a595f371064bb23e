"""Recorded measurements to replay: a profile, or other JSON with a model and such rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pytest_yourai.core.axes import AXIS_BY_NAME, value_text
from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import Backend
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.files import read_document
from pytest_yourai.core.ranking import lightest_first
from pytest_yourai.store.profile_reader import stored_profile
from pytest_yourai.store.stored_profile import StoredProfile


def read_recording(path: Path, usual_seq_length: int) -> StoredProfile:
    """The recording in `path`, by the name of the file alone.

    RecordingError, naming file and key, if nothing in it was measured. Rows without a sequence
    length have the file's `seq_length`, else `usual_seq_length`, in tokens.
    """
    found = stored_profile(read_document(path), str(path), usual_seq_length)
    if not found.measured:
        raise RecordingError(f"{path}: all_results: none of its rows was measured: name another")
    return dataclasses.replace(found, name=path.name)


def recorded_configs(
    recording: StoredProfile, asked: Mapping[str, Collection[Any]]
) -> list[LoraConfig]:
    """The measured configurations whose axes have the values `asked` for, lightest first.

    `asked` maps some axes to values. OptionError, naming the flag, for what was not recorded.
    """
    chosen = list(recording.measured)
    for axis in (AXIS_BY_NAME[name] for name in asked):
        values, there = asked[axis.name], recording.measured_values(axis)
        if missing := [value for value in values if value not in there]:
            raise OptionError(
                f"--yourai-{axis.flag}: {recording.name} was recorded with {_listed(there)}, not "
                f"with {_listed(missing)}: leave it out"
            )
        chosen = [config for config in chosen if axis.of(config) in values]
    if not chosen:
        flags = ", ".join(f"--yourai-{AXIS_BY_NAME[name].flag}" for name in asked)
        raise OptionError(
            f"{flags}: {recording.name} has no configuration with all of these: leave one out"
        )
    return lightest_first(chosen)


def backend_of(environment: Environment) -> Backend:
    """The backend of a recording; CUDA, as of most foreign ones, where it is not named."""
    return next((each for each in get_args(Backend) if each == environment.backend), "cuda")


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(value_text, values))
