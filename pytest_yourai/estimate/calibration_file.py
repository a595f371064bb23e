"""The file with the calibration of each machine, in the user's cache folder.

It is believed only as far as its digest and the bounds of a calibration allow: what is damaged is
kept under another name, and learned anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pytest_yourai.core.digest import DIGEST, has_changed
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.files import parse_json, write_json
from pytest_yourai.core.opening import open_regular, own_folder, read_own
from pytest_yourai.core.paths import cache_folder
from pytest_yourai.estimate.calibration import COMPONENTS, Calibration

_NAMED_BY = "calibration"

_Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class _Entry(pydantic.BaseModel):
    """The calibration of one machine, as the file has it."""

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


class _DamagedError(Exception):
    """The file, or the entry of this machine, is not what was written."""


def cache_file() -> Path:
    """Path of `calibration.json` in the user's cache folder."""
    return cache_folder() / "calibration.json"


def read_calibration(machine: str) -> Calibration:
    """Calibration kept for `machine`; the uncalibrated one where nothing valid is kept."""
    try:
        return _entry(_read(), machine) or Calibration()
    except (OSError, _DamagedError):
        return Calibration()


def set_aside_if_damaged(machine: str) -> str | None:
    """Give a file that `machine` cannot believe another name; the line about it, else None."""
    try:
        with _locked():
            return _set_aside_if_damaged(machine)
    except (OSError, OutputError):
        return None


def write_calibration(machine: str, calibration: Calibration) -> None:
    """Keep `calibration` for `machine`. A cache that cannot be written is silently left as it is.

    It is read again under a lock, so that sessions that end at the same time keep all entries.
    """
    entry = {
        "factors": dict(zip(COMPONENTS, calibration.factors, strict=True)),
        "widths": dict(zip(COMPONENTS, calibration.widths, strict=True)),
        "trials": calibration.trials,
    }
    try:
        with _locked():
            _set_aside_if_damaged(machine)
            write_json(cache_file(), {**_read(), machine: entry}, _NAMED_BY)
    except (OSError, OutputError, _DamagedError):
        return


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    folder = own_folder(cache_file().parent)
    lock = open_regular(folder / "calibration.lock", os.O_RDWR | os.O_CREAT)
    with os.fdopen(lock):
        # Some network file systems have no locks: writing without one is still right mostly.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_aside_if_damaged(machine: str) -> str | None:
    path = cache_file()
    try:
        document: dict[str, Any] = _read()
        others = {key: document[key] for key in document if key not in (machine, DIGEST)}
    except _DamagedError as problem:
        return _set_aside(path, problem, {})
    try:
        _entry(document, machine)
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


def _entry(document: dict[str, Any], machine: str) -> Calibration | None:
    """The calibration of `machine`; None without one."""
    kept = document.get(machine)
    if kept is None:
        return None
    try:
        found = _Entry.model_validate(kept).calibration
    except (pydantic.ValidationError, KeyError):
        raise _DamagedError("its numbers are not those of a calibration") from None
    if found.problem is not None:
        raise _DamagedError(found.problem)
    return found
