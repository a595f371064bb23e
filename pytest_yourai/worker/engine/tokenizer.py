"""The tokenizer of a model, read by mlx-lm, and whether it fits the format of the rows."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlx_lm.tuner.datasets import TextDataset
from mlx_lm.utils import load_tokenizer

from pytest_yourai.core.errors import ModelError
from pytest_yourai.models.dataset_checks import shortened


def read_tokenizer(folder: str, *, trust_remote_code: bool) -> Any:
    try:
        return load_tokenizer(folder, {"trust_remote_code": trust_remote_code})
    except Exception as problem:
        if not trust_remote_code and _brings_code(Path(folder)):
            raise ModelError(
                f"{folder}/tokenizer_config.json: auto_map: the tokenizer brings Python code of "
                "its own, which is not run: add --yourai-trust-remote-code if you trust it"
            ) from problem
        raise ModelError(
            f"--yourai-data: the tokenizer in {folder} cannot be loaded ({failure(problem)}): fix "
            "it"
        ) from problem


def _brings_code(folder: Path) -> bool:
    """True if a file of the tokenizer, or the model's, names classes of its own."""
    for name in ("tokenizer_config.json", "config.json"):
        with suppress(OSError, ValueError):
            settings = json.loads((folder / name).read_bytes())
            if isinstance(settings, dict) and settings.get("auto_map"):
                return True
    return False


def failure(problem: Exception) -> str:
    """The type and text of an exception of mlx-lm's."""
    return shortened(f"{type(problem).__name__}: {problem}")


def check_tokenizer(data: str, rows: Any, tokenizer: Any, folder: str | None) -> None:
    """ModelError where no row of this format could be trained on with the tokenizer."""
    if not isinstance(rows, TextDataset) and not tokenizer.has_chat_template:
        raise ModelError(
            f"--yourai-data: {data} has conversations, and the tokenizer in {folder} no chat "
            "template: name a model that has one, or give rows as text"
        )
    if isinstance(rows, TextDataset) and tokenizer.eos_token_id is None:
        raise ModelError(
            f"--yourai-data: {data} has rows of text, and the tokenizer in {folder} no eos token, "
            "which mlx-lm ends each of them with: set eos_token in its tokenizer_config.json"
        )
