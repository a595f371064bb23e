"""Identities of runs and machines: measurements hold wherever they are equal."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.sanitize import clean
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.identity import digest
from pytest_yourai.models.source import ModelSource

_NOT_MEASURED = (
    *("model", "presets_file", "matrix", "recipe_file", "search", "isolation", "timeout_s"),
    *(axis.key for axis in AXES),
)
"""Settings that do not change the measurement of a trial, or that each row has itself."""

_NEWER = ("bad_rows",)
"""Settings that earlier versions did not know, and that are left out where they are off."""

_TOKENIZER_FILES = ("*token*", "*.jinja", "vocab*", "merges.txt")
"""The lengths of real rows depend on these files, chat templates included."""


def run_identity(
    source: ModelSource, data: str | None, settings: SweepSettings, hosts: HostGroup | None = None
) -> dict[str, Any]:
    """The identity of a run: one with an equal identity can keep its measurements."""
    known = settings.as_json()
    identity = {
        "model": source.name,
        "architecture": digest(source.architecture),
        "folder": _files(source.folder, "*.safetensors", "*.py", *_TOKENIZER_FILES),
        "trust_remote_code": source.trust_remote_code,
        "data": _files(data, "train.jsonl"),
        "settings": {
            key: each
            for key, each in known.items()
            if key not in _NOT_MEASURED and not (each is None and key in _NEWER)
        },
        "versions": environment.versions(),
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().usable_bytes,
    }
    # Earlier versions knew of none.
    if variables := environment.variables(os.environ):
        identity["variables"] = variables
    if hosts is not None and not hosts.is_here:
        identity["hosts"] = digest([(host.ssh, host.ips) for host in hosts.hosts])
    if adapters := known.get("resume_adapter_file"):
        path = Path(adapters)
        identity["adapters"] = _files(str(path.parent), glob.escape(path.name))
    cleaned: dict[str, Any] = clean(identity)
    return cleaned


def machine_id() -> str:
    """A digest of this machine and its versions, which calibrations belong to."""
    identity = {
        "chip": environment.chip(),
        "system_memory_bytes": read_system_memory().total_bytes,
        "versions": environment.versions(),
    }
    return digest(identity)


def _files(folder: str | None, *patterns: str) -> str | None:
    """A digest of names, sizes and times of files; None without a folder. Weights are not read."""
    if folder is None:
        return None
    found = (file for pattern in patterns for file in Path(folder).glob(pattern))
    files = sorted(file for file in found if file.is_file())
    facts = [(file.name, file.stat()) for file in files]
    return digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in facts])
