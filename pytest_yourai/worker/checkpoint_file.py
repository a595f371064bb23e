"""The file that training resumes from: sealed with a digest of all its bytes, and the one before.

Neither MLX nor the tensors are needed here, so that a damaged file is found before anything loads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import struct
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open

from pytest_yourai.core.errors import CheckpointError
from pytest_yourai.core.files import mapping, put_in_place
from pytest_yourai.core.opening import open_regular

CHECKPOINT = "checkpoint.safetensors"

ADAPTERS = "adapters.safetensors"

ADAPTER_CONFIG = "adapter_config.json"

BEST_FOLDER = "best"
"""Has the best adapters, within the folder of the last."""

METADATA_KEY = "training"
"""The entry of a checkpoint's metadata that has its run, as JSON."""

PREVIOUS = "checkpoint-previous.safetensors"

_DIGEST_KEY = "sha256"

_NO_DIGEST = "0" * hashlib.sha256().digest_size * 2
"""Stands for the digest while it is computed, in a file of the final size."""

_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its JSON header."""

_CHUNK_BYTES = 1 << 22


def metadata_of(run: str) -> dict[str, str]:
    """The metadata of a new checkpoint file, for `seal`; `run` is the JSON of its run."""
    return {METADATA_KEY: run, _DIGEST_KEY: _NO_DIGEST}


def seal(path: Path) -> None:
    """Put the digest of a new file into its header."""
    with path.open("r+b") as file:
        header = _header(file)
        digest = _digest(file, header)
        place = header.find(_entry(_NO_DIGEST))
        file.seek(_LENGTH_BYTES + place)
        file.write(_entry(digest))


def replace_checkpoint(temporary: Path, path: Path) -> None:
    """Put a sealed file in the place of the checkpoint, which becomes the one before it."""
    previous = path.with_name(PREVIOUS)
    if path.exists():
        linked = temporary.with_name(f"{temporary.name}.old")
        try:
            linked.unlink(missing_ok=True)
            linked.hardlink_to(path)
            linked.replace(previous)
        except OSError:
            # A file system without hard links: for a moment there is only the one before.
            path.replace(previous)
    put_in_place(temporary, path)


def read_run(path: Path) -> str:
    """The JSON of the run that a checkpoint file is of, once its digest is right.

    CheckpointError, with the checkpoint before it as the remedy, for any other content.
    """
    try:
        return _read(path)
    except OSError as problem:
        raise refusal(path, problem.strerror or str(problem)) from None
    except ValueError as problem:
        raise refusal(path, str(problem)) from None


def refusal(path: Path, problem: str) -> CheckpointError:
    """`problem` of a checkpoint file, and what to do."""
    previous, remedy = path.with_name(PREVIOUS), "name another --adapter-path"
    if path.name != PREVIOUS:
        with contextlib.suppress(OSError, ValueError):
            step = mapping(json.loads(_read(previous))).get("step")
            move = shlex.join(["mv", str(previous), str(path)])
            remedy = f"continue with --resume from the one before it, of step {step}, after {move}"
    return CheckpointError(f"{path} cannot be continued from: {problem}; {remedy}")


def _read(path: Path) -> str:
    """As `read_run`; OSError or ValueError, which says what is wrong."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        return _run_in(path, file)


def _run_in(path: Path, file: BinaryIO) -> str:
    try:
        with safe_open(path, framework="numpy") as content:
            metadata: dict[str, str] = content.metadata() or {}
    except SafetensorError as problem:
        raise ValueError(f"it is damaged ({problem})") from None
    if METADATA_KEY not in metadata or _DIGEST_KEY not in metadata:
        raise ValueError("yourai train did not write it")
    digest = metadata[_DIGEST_KEY]
    blank = _header(file).replace(_entry(digest), _entry(_NO_DIGEST), 1)
    if len(digest) != len(_NO_DIGEST) or _digest(file, blank) != digest:
        raise ValueError("it is damaged (its content does not match its sha256)")
    return metadata[METADATA_KEY]


def _entry(digest: str) -> bytes:
    return f'"{_DIGEST_KEY}":"{digest}"'.encode()


def _header(file: BinaryIO) -> bytes:
    """The header; the file is at its data then. Its length is at most that of the file."""
    (length,) = struct.unpack("<Q", file.read(_LENGTH_BYTES))
    return file.read(min(length, os.fstat(file.fileno()).st_size))


def _digest(file: BinaryIO, header: bytes) -> str:
    """The digest of a file with `header`, of which everything after it is read."""
    found = hashlib.sha256(struct.pack("<Q", len(header)))
    found.update(header)
    file.seek(_LENGTH_BYTES + len(header))
    while chunk := file.read(_CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()
