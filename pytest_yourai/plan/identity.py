"""What a run, and a machine, must have in common for one's measurements to hold for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.sanitize import clean
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.identity import _digest
from pytest_yourai.models.source import ModelSource

_NOT_MEASURED = ("matrix", "search", "isolation", "timeout_s", "max_seq_length", "grad_checkpoint")
"""Settings that leave each trial's measurement as it is, or that each row says of itself."""

_TOKENIZER_FILES = ("*token*", "*.jinja", "vocab*", "merges.txt")
"""Which lengths real rows have depends on these, chat templates too."""


def run_identity(source: ModelSource, data: str | None, settings: SweepSettings) -> dict[str, Any]:
    """What two runs must have in common for one to take over the other's measurements."""
    known = settings.as_json()
    identity = {
        "model": source.name,
        "architecture": _digest(source.architecture),
        "folder": _files(source.folder, "*.safetensors", "*.py", *_TOKENIZER_FILES),
        "trust_remote_code": source.trust_remote_code,
        "data": _files(data, "train.jsonl"),
        "settings": {key: each for key, each in known.items() if key not in _NOT_MEASURED},
        "versions": environment.versions(),
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().usable_bytes,
    }
    cleaned: dict[str, Any] = clean(identity)
    return cleaned


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
