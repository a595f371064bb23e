"""Checks of rows as mlx-lm trains on them: tokenized, masked and cut. A check of many is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from mlx_lm.tuner.datasets import TextDataset

from pytest_yourai.core.digest import DIGEST, has_changed
from pytest_yourai.core.errors import OutputError
from pytest_yourai.core.figures import Count
from pytest_yourai.core.files import parse_json, write_json
from pytest_yourai.core.opening import own_folder, read_own
from pytest_yourai.core.paths import cache_folder
from pytest_yourai.core.type_adapters import type_adapter
from pytest_yourai.models.dataset_checks import RowFormat, row_problem, shortened
from pytest_yourai.models.identity import digest
from pytest_yourai.models.source import RowReading
from pytest_yourai.worker.protocol import RowsRead

_REPORTED_EVERY_S = 10.0

_FEWEST_KEPT = 1000
"""Rows whose check is worth a file."""

_MOST_FILES = 20
"""Checks that are kept; the oldest goes first."""

_FOLDER = "rows"

_VERSION = 1
"""Of the rules below: a check by other ones does not count."""

_TOKENIZER_FILES = ("*token*", "*.jinja", "vocab*", "merges.txt", "config.json", "*.py")


@dataclass(frozen=True)
class RowCheck:
    """Tokens of each row, the rows that cannot be trained on, and those that train padding alone.

    `problems` has the reason for each such row, by its place from 0.
    """

    lengths: tuple[Count, ...]
    problems: Mapping[Annotated[int, pydantic.Field(ge=0)], str]
    only_padding: tuple[Count, ...]
    misshapen: bool
    """True if some of the problems would be those of any model."""


class Progress:
    """Reports the rows that are read, at most every ten seconds."""

    def __init__(self, total: int, report: Callable[[RowsRead], None]) -> None:
        self._total = total
        self._report = report
        self._rows = 0
        self._reported_at = time.monotonic()

    def add(self, rows: int) -> None:
        self._rows += rows
        now = time.monotonic()
        if now >= self._reported_at + _REPORTED_EVERY_S:
            self._reported_at = now
            self._report(RowsRead(self._rows, self._total))


def check_rows(
    rows: Any,
    file: Path | None,
    tokenizer_folder: str,
    reading: RowReading,
    vocabulary: int | None,
    progress: Progress,
) -> RowCheck:
    """The check of one of mlx-lm's data sets; an earlier one of the same `file` counts."""
    kept_as = None
    if file is not None and len(rows) >= _FEWEST_KEPT:
        kept_as = f"{_key(file, tokenizer_folder, reading, vocabulary)}.json"
        found = _read_kept(kept_as, len(rows))
        if found is not None:
            progress.add(len(rows))
            return found
    found = _check(rows, reading, vocabulary, progress)
    if kept_as is not None:
        _keep(kept_as, found)
    return found


def _check(rows: Any, reading: RowReading, vocabulary: int | None, progress: Progress) -> RowCheck:
    row_format = RowFormat.of(rows[0])
    lengths, problems, only_padding, misshapen = [], {}, [], False
    for place in range(len(rows)):
        row = rows[place]
        try:
            tokens, offset, problem = *_tokenized(rows, row), None
        except Exception as raised:  # noqa: BLE001 - templates and tokenizers raise anything
            tokens, offset = [], 0
            shape = _misshapen(row, row_format)
            misshapen = misshapen or shape is not None
            problem = shape or _why_untokenized(rows, raised)
        problem = problem or _untrainable(rows, tokens, offset, reading, vocabulary)
        lengths.append(len(tokens))
        if problem is not None:
            problems[place] = shortened(problem)
        elif min(len(tokens), reading.max_seq_length) <= max(offset, 1):
            only_padding.append(place)
        progress.add(1)
    return RowCheck(tuple(lengths), problems, tuple(only_padding), misshapen)


def _tokenized(rows: Any, row: Any) -> tuple[list[Any], int]:
    """The tokens of a row, and where training begins."""
    tokens, offset = rows.process(row)
    return list(tokens), int(offset)


def _misshapen(row: Any, row_format: RowFormat | None) -> str | None:
    return row_problem(row, row_format) if row_format and isinstance(row, dict) else None


def _why_untokenized(rows: Any, raised: Exception) -> str:
    if isinstance(rows, TextDataset) and isinstance(raised, IndexError):
        return "its text gives no tokens"
    return f"it cannot be tokenized ({type(raised).__name__}: {raised})"


def _untrainable(
    rows: Any, tokens: list[Any], offset: int, reading: RowReading, vocabulary: int | None
) -> str | None:
    """Why mlx-lm cannot train on the tokens of a row, masked and cut; None if it can."""
    cut, most = tokens[: reading.max_seq_length], math.inf if vocabulary is None else vocabulary
    if not all(isinstance(token, int | np.integer) for token in cut):
        return "its tokenizer gives something else than ids"
    if unknown := next((token for token in cut if not 0 <= token < most), None):
        return (
            f"the token {_name(rows, unknown)} has the id {unknown}, and the model embeds {most:,} "
            "ids from 0: the tokenizer is another model's, or the model lacks tokens"
        )
    # mlx-lm's loss counts the steps from the end of the prompt to that of the row; step 1 predicts
    # the second token, and the last one the padding.
    if min(len(tokens), reading.max_seq_length - 1) >= max(offset, 1):
        return None
    if not tokens:
        return "it gives no tokens"
    return (
        f"nothing is left to train: its prompt, which --mask-prompt leaves out, has {offset:,} of "
        f"its {len(tokens):,} tokens, and rows are cut at {reading.max_seq_length:,}"
    )


def _name(rows: Any, token: int) -> str:
    try:
        return repr(rows.tokenizer.convert_ids_to_tokens(token))
    except Exception:  # noqa: BLE001 - it is only named
        return "without a name"


def _key(file: Path, tokenizer_folder: str, reading: RowReading, vocabulary: int | None) -> str:
    """A digest of all that a check depends on."""
    folder = Path(tokenizer_folder)
    found = {path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)}
    packages = ("mlx-lm", "transformers", "tokenizers", "jinja2")
    return digest(
        [
            _VERSION,
            {name: _version(name) for name in packages},
            _digest_of(file),
            [(path.name, _digest_of(path)) for path in sorted(found) if path.is_file()],
            reading.max_seq_length,
            reading.mask_prompt,
            vocabulary,
        ]
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_kept(name: str, rows: int) -> RowCheck | None:
    """The check that was kept, if it is whole and of so many rows."""
    try:
        document = parse_json(read_own(cache_folder() / _FOLDER / name))
        if not isinstance(document, dict) or has_changed(document) or DIGEST not in document:
            return None
        found = type_adapter(RowCheck).validate_python(document)
    except (OSError, ValueError, RecursionError):
        return None
    places = [*found.problems, *found.only_padding]
    return found if len(found.lengths) == rows and all(each < rows for each in places) else None


def _keep(name: str, check: RowCheck) -> None:
    """Keep the check; a folder that cannot be written is silently left as it is."""
    with contextlib.suppress(OSError, OutputError):
        folder = own_folder(cache_folder() / _FOLDER)
        problems = {str(place): reason for place, reason in check.problems.items()}
        document = {**dataclasses.asdict(check), "problems": problems}
        write_json(folder / name, document, "rows")
        kept = sorted(folder.glob("*.json"), key=lambda path: path.lstat().st_mtime)
        for old in kept[:-_MOST_FILES]:
            old.unlink(missing_ok=True)
