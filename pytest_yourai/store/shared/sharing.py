"""Makes a shared file of a profile: what it may have is kept, all else left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import Quantization
from pytest_yourai.core.digest import with_digest
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.sanitize import clean
from pytest_yourai.core.units import GB, scaled
from pytest_yourai.store.profile import SCHEMA_VERSION
from pytest_yourai.store.rows import TrialRow
from pytest_yourai.store.shared.document import (
    SHARED_VERSION,
    Hardware,
    Matrix,
    Package,
    Repository,
    SharedEnvironment,
    SharedSettings,
    VariableName,
    VariableValue,
    Version,
    field_names,
    fits,
)
from pytest_yourai.store.stored_profile import StoredProfile

_SYSTEM = re.compile(r"([A-Za-z]{1,20})(-\d{1,4}(?:\.\d{1,4}){0,3})?")


def shared_document(profile: StoredProfile, presets: Mapping[str, Any]) -> dict[str, Any]:
    """The shared file of a profile, with its digest; `presets` are the packaged ones.

    RecordingError, naming the key, where the profile says nothing that others could use.
    """
    _refuse_private(profile, presets)
    document = {
        "schema_version": SCHEMA_VERSION,
        "shared": SHARED_VERSION,
        "model": profile.model,
        "created_at": profile.created_at and profile.created_at.isoformat(timespec="seconds"),
        "complete": profile.complete,
        "trials_run": sum(each.started for each in profile.results.values()),
        "memory_limit_gb": scaled(profile.memory_limit_bytes, GB),
        "objective": profile.objective.value,
        "settings": _settings(profile),
        "environment": _environment(profile.environment),
        "all_results": [
            {**TrialRow.from_result(each).as_json(), "error": None, "remedy": None, "warnings": []}
            for each in profile.results.values()
        ],
    }
    return with_digest(clean(document))


def _refuse_private(profile: StoredProfile, presets: Mapping[str, Any]) -> None:
    settings, name = profile.settings, profile.name
    if settings.replay is not None:
        raise RecordingError(
            f"{name}: settings.replay: a replay measured nothing: share the recording's own profile"
        )
    if settings.data is not None or profile.data is not None:
        raise RecordingError(
            f"{name}: settings.data: rows of your own have other lengths: share a sweep without "
            "--yourai-data"
        )
    is_preset = settings.model is None and profile.model in presets
    is_repository = settings.model is not None and fits(Repository, settings.model)
    if settings.presets_file is not None or not (is_preset or is_repository):
        raise RecordingError(
            f"{name}: settings.model: nobody else has {profile.model}: share a sweep of a packaged "
            "preset, or of a repository as owner/name"
        )


def _settings(profile: StoredProfile) -> dict[str, Any]:
    found = profile.settings.as_json()
    values = {key: found[key] for key in field_names(SharedSettings) if key in found}
    if not fits(Matrix, values.get("matrix")):
        values["matrix"] = None
    how = profile.settings.quantization
    if isinstance(how, Quantization):
        values["quantization"] = dataclasses.asdict(how)
    return values


def _environment(found: Environment) -> dict[str, Any]:
    values = {key: getattr(found, key) for key in field_names(SharedEnvironment)}
    for key in ("chip", "device"):
        values[key] = values[key] if fits(Hardware, values[key]) else None
    system = _SYSTEM.match(found.system or "")
    values["system"] = system and system[0]
    values["versions"] = {
        name: text
        for name, text in found.versions.items()
        if fits(Package, name) and fits(Version, text)
    }
    values["variables"] = {
        name: text if fits(VariableValue, text) else "other"
        for name, text in found.variables.items()
        if fits(VariableName, name)
    }
    return values
