"""The file with what earlier runs taught, in the user's cache folder.

It has a key for each `group`, a machine and a kind of model; there a calibration of each model for
each kind of recipe. Each is of that model's own trials alone, so that none is learned twice.

It is believed only as far as its digest and the bounds of a calibration allow: what is damaged is
kept under another name, and learned anew. Keys of earlier versions, which had one calibration for
all models of a machine, are left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.digest import DIGEST, has_changed
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import parse_json, write_json
from pytest_yourai.core.opening import open_regular, own_folder, read_own
from pytest_yourai.core.paths import cache_folder
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.estimate.calibration import COMPONENTS, Calibration

_NAMED_BY = "calibration"

_MOST_MODELS = 20
"""Of a kind of recipe: the ones that were measured last stay."""

_Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class _Entry(pydantic.BaseModel):
    """A calibration, as the file has it."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    factors: dict[str, _Number]
    widths: dict[str, _Number]
    trials: int

    @property
    def calibration(self) -> Calibration:
        factors, widths = (
            tuple(values[name] for name in COMPONENTS) for values in (self.factors, self.widths)
        )
        return Calibration(factors, widths, self.trials)


Lessons = Mapping[str, Mapping[str, Calibration]]
"""By kind of recipe, calibrations by `identity_of_shapes`."""


class _DamagedError(Exception):
    """The file, or the entry of this group, is not what was written."""


def cache_file() -> Path:
    """Path of `calibration.json` in the user's cache folder."""
    return cache_folder() / "calibration.json"


def read_lessons(group: str) -> Lessons:
    """What is kept for `group`; nothing where nothing valid is kept."""
    try:
        return _lessons(_read(), group)
    except (OSError, _DamagedError):
        return {}


def set_aside_if_damaged(group: str) -> str | None:
    """Give a file that `group` cannot believe another name; the line about it, else None."""
    try:
        with _locked():
            return _set_aside_if_damaged(group)
    except (OSError, OutputError):
        return None


def write_lessons(group: str, model: str, learned: Mapping[str, Calibration]) -> None:
    """Keep what trials of `model` taught, by kind of recipe, in place of what was kept of it.

    A cache that cannot be written is silently left as it is. It is read again under a lock, so that
    sessions that end at the same time keep all entries.
    """
    try:
        with _locked():
            _set_aside_if_damaged(group)
            document = _read()
            kept = document.setdefault(group, {})
            for recipe, calibration in learned.items():
                others = {
                    each: kept[recipe][each] for each in kept.get(recipe, {}) if each != model
                }
                newest = {**others, model: _as_json(calibration)}
                kept[recipe] = dict([*newest.items()][-_MOST_MODELS:])
            write_json(cache_file(), document, _NAMED_BY)
    except (OSError, OutputError, _DamagedError):
        return


def _as_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "factors": dict(zip(COMPONENTS, calibration.factors, strict=True)),
        "widths": dict(zip(COMPONENTS, calibration.widths, strict=True)),
        "trials": calibration.trials,
    }


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    folder = own_folder(cache_file().parent)
    lock = open_regular(folder / "calibration.lock", os.O_RDWR | os.O_CREAT)
    with os.fdopen(lock):
        # Some network file systems have no locks: writing without one is still right mostly.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_aside_if_damaged(group: str) -> str | None:
    path = cache_file()
    try:
        document: dict[str, Any] = _read()
        others = {key: document[key] for key in document if key not in (group, DIGEST)}
    except _DamagedError as problem:
        return _set_aside(path, problem, {})
    try:
        _lessons(document, group)
    except _DamagedError as problem:
        return _set_aside(path, problem, others)
    return None


def _set_aside(path: Path, problem: _DamagedError, others: dict[str, Any]) -> str:
    """Rename the file, and go on with the entries of `others`."""
    aside = path.with_name(f"calibration-damaged-{uuid.uuid4().hex[:12]}.json")
    path.rename(aside)
    if others:
        write_json(path, others, _NAMED_BY)
    return (
        f"{path} is damaged ({problem}): it is kept as {aside.name}, and this machine is learned "
        "anew"
    )


def _read() -> dict[str, Any]:
    """The document, empty without a file; _DamagedError for what nobody has written so."""
    try:
        text = read_own(cache_file())
    except FileNotFoundError:
        return {}
    try:
        document = parse_json(text.decode())
        is_changed = not isinstance(document, dict) or has_changed(document)
    except (ValueError, RecursionError):
        raise _DamagedError("it is not JSON") from None
    if is_changed:
        raise _DamagedError("its digest is that of another")
    return dict(document)


def _lessons(document: dict[str, Any], group: str) -> Lessons:
    """The entry of `group`; an empty one without."""
    try:
        entries = type_adapter(dict[str, dict[str, _Entry]]).validate_python(
            document.get(group, {})
        )
        found = {
            recipe: {model: entry.calibration for model, entry in models.items()}
            for recipe, models in entries.items()
        }
    except (pydantic.ValidationError, KeyError):
        raise _DamagedError("its numbers are not those of a calibration") from None
    for problem in (each.problem for models in found.values() for each in models.values()):
        if problem is not None:
            raise _DamagedError(problem)
    return found
