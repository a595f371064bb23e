"""The identity of a model, for adapters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pytest_yourai.models.folder import WEIGHTS
from pytest_yourai.models.model import Model

_SAMPLES = 16

_SAMPLE_BYTES = 4096


def model_identity(model: Model) -> str:
    """A digest that two models share if adapters of one fit the other.

    It does not depend on the path of a folder. Only samples of the weights are read: all of them
    take minutes, and names and sizes are the same for every fine-tuned model of a family.
    """
    files: list[Path] = []
    if model.weights == "local" and model.folder is not None:
        files = sorted(file for file in model.folder.glob(WEIGHTS) if file.is_file())
    return digest([model.architecture, [(file.name, *_sampled(file)) for file in files]])


def files_digest(folder: Path) -> str | None:
    """A digest of names, sizes and samples of a model's files; None where there is no folder.

    Equal on two machines that have the same files, wherever they lie.
    """
    if not folder.is_dir():
        return None
    names = (WEIGHTS, "*.json", "*.jinja", "*.model", "*.txt", "*.py")
    found = {file for name in names for file in folder.glob(name) if file.is_file()}
    return digest([(file.name, *_sampled(file)) for file in sorted(found)])


def _sampled(file: Path) -> tuple[int, str]:
    """Size of the file in bytes, and a digest of samples at even distances."""
    size_bytes = file.stat().st_size
    found = hashlib.sha256()
    with file.open("rb") as content:
        for number in range(_SAMPLES):
            content.seek(max(size_bytes - _SAMPLE_BYTES, 0) * number // (_SAMPLES - 1))
            found.update(content.read(_SAMPLE_BYTES))
    return size_bytes, found.hexdigest()


def digest(value: Any) -> str:
    """A short digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
