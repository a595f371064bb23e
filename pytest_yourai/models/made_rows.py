"""Training data that is made up, of the few words that a made tokenizer knows."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = (
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain"),
    *("falls", "on", "green", "hills"),
)


def make_rows(folder: Path, rows: int = 32, words: int = 100) -> Path:
    """A data folder: train.jsonl with rows of so many words."""
    folder.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(0)  # noqa: S311 - not for secrets
    lines = [json.dumps({"text": " ".join(chooser.choices(WORDS, k=words))}) for _ in range(rows)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
