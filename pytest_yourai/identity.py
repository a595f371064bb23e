"""What a run, and a machine, must have in common for one's measurements to hold for another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pytest_yourai.engine.protocol import ModelSource
from pytest_yourai.memory.system import read_system_memory
from pytest_yourai.model_folder import WEIGHTS
from pytest_yourai.models import Model
from pytest_yourai.store import environment
from pytest_yourai.store.clean import clean

_NOT_MEASURED = ("matrix", "search", "isolation", "timeout_s", "max_seq_length", "grad_checkpoint")
"""Settings that leave each trial's measurement as it is, or that each row says of itself."""


_TOKENIZER_FILES = ("*token*", "*.jinja", "vocab*", "merges.txt")
"""Which lengths real rows have depends on these, chat templates too."""

_SAMPLES = 16
_SAMPLE_BYTES = 4096


def run_identity(source: ModelSource, data: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What two runs must have in common for one to take over the other's measurements."""
    identity = {
        "model": source.name,
        "architecture": _digest(source.architecture),
        "folder": _files(source.folder, "*.safetensors", "*.py", *_TOKENIZER_FILES),
        "trust_remote_code": source.trust_remote_code,
        "data": _files(data, "train.jsonl"),
        "settings": {key: settings[key] for key in settings if key not in _NOT_MEASURED},
        "versions": environment.versions(),
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().usable_bytes,
    }
    known: dict[str, Any] = clean(identity)
    return known


def model_identity(model: Model) -> str:
    """What two models must have in common for adapters of one to be adapters of the other.

    The same for a folder wherever it lies. Of weights that are there only samples are read: all of
    them take minutes, and names and sizes are the same for every fine-tuned model of a family.
    """
    files: list[Path] = []
    if model.weights == "local" and model.folder is not None:
        files = sorted(file for file in model.folder.glob(WEIGHTS) if file.is_file())
    return _digest([model.architecture, [(file.name, *_sampled(file)) for file in files]])


def machine_id() -> str:
    """What calibrations hold for: this machine with these versions."""
    identity = {
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().total_bytes,
        "versions": environment.versions(),
    }
    return _digest(identity)


def _files(folder: str | None, *patterns: str) -> str | None:
    """A digest of names, sizes and times: weights are too large to be read for this."""
    if folder is None:
        return None
    found = (file for pattern in patterns for file in Path(folder).glob(pattern))
    files = sorted(file for file in found if file.is_file())
    facts = [(file.name, file.stat()) for file in files]
    return _digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in facts])


def _sampled(file: Path) -> tuple[int, str]:
    """Its size in bytes, and a digest of parts that lie at even distances."""
    size_bytes = file.stat().st_size
    found = hashlib.sha256()
    with file.open("rb") as content:
        for number in range(_SAMPLES):
            content.seek(max(size_bytes - _SAMPLE_BYTES, 0) * number // (_SAMPLES - 1))
            found.update(content.read(_SAMPLE_BYTES))
    return size_bytes, found.hexdigest()


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
