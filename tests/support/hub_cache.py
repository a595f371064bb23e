"""A local Hugging Face cache of the tests' own, and models put into it as a download would.

Imports neither MLX nor what of huggingface_hub is slow: all unit tests load this.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def hub_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in the place of the machine's own, here and in what the test starts.

    huggingface_hub has read the environment when it was imported.
    """
    home = tmp_path_factory.mktemp("hf-home")
    cache = home / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def cached(folder: Path, repo: str, cache: Path, leave_out: Collection[str] = ()) -> Path:
    """Put the files of `folder` into `cache`, and give the snapshot: blobs, refs and links.

    Files in `leave_out` are not there, as after a download that broke off.
    """
    storage = cache / f"models--{repo.replace('/', '--')}"
    snapshot = storage / "snapshots" / COMMIT
    blobs = storage / "blobs"
    for each in (snapshot, blobs, storage / "refs"):
        each.mkdir(parents=True, exist_ok=True)
    (storage / "refs" / "main").write_text(COMMIT)
    for file in folder.iterdir():
        if file.name not in leave_out:
            blob = hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blobs / blob)
            (snapshot / file.name).symlink_to(Path("..", "..", "blobs", blob))
    return snapshot


def bare_model(folder: Path, config: Any, *, shards: int = 1) -> Path:
    """A folder that looks like a model: empty weights, with an index where there are several."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        (folder / "model.safetensors").write_bytes(b"")
        return folder
    names = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
