"""From the name of a model to its architecture, without a look at its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import given_path, packaged_models


def architecture_of(model: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """A config.json mapping as it is; else that of a preset, a folder, or a cached repository.

    ModelError where a name is none of them.
    """
    if isinstance(model, Mapping):
        return model
    # A mapping needs neither them nor the libraries that read files.
    from pytest_yourai.models.presets import read_presets  # noqa: PLC0415
    from pytest_yourai.models.resolve import resolve  # noqa: PLC0415

    name = os.fspath(model)
    try:
        folder = given_path(name, Path.cwd())
    except ValueError as problem:
        raise ModelError(f"model: {name!r} is not valid: {problem}") from None
    return resolve(name, folder, "synthetic", read_presets(packaged_models())).architecture
