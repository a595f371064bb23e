"""Training data: read, tokenized and made into batches by mlx-lm itself."""

from __future__ import annotations

import importlib.util
import json
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.datasets import CacheDataset, TextDataset, load_dataset
from mlx_lm.tuner.trainer import iterate_batches
from mlx_lm.utils import load_tokenizer

from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.models.dataset_checks import (
    RowFormat,
    bad_row,
    check_folder,
    row_problem,
    shortened,
)
from pytest_yourai.models.dataset_lengths import TrainingData

Batch = tuple[mx.array, mx.array]
"""Tokens, (batch_size, padded length), and for each row where training begins and ends."""

_FEWEST_TOKENS = 2

_MOST_ROWS = 2_000_000
"""The lengths of this many still fit into one message to the parent."""


class TrainingRows:
    """Training rows as mlx-lm reads them. Tokens are kept only of rows that were in a batch."""

    def __init__(self, rows: Any, lengths: list[int]) -> None:
        """`rows` is one of mlx-lm's data sets, `lengths` the tokens of each row."""
        self._rows = CacheDataset(rows)
        self._lengths = lengths
        self._longest_first = sorted(
            range(len(lengths)), key=lambda row: lengths[row], reverse=True
        )

    def summary(self) -> TrainingData:
        """The lengths, in the order in which mlx-lm fills its batches."""
        order = sorted(range(len(self._lengths)), key=self._rows.itemlen)
        return TrainingData(tuple(self._lengths[row] for row in order))

    def longest_batches(
        self, most: int, batch_size: int, max_seq_length: int, comm_group: Any = None
    ) -> list[Batch]:
        """At most `most` batches of rows in order of length, the longest first.

        mlx-lm pads and cuts each; it raises ValueError where there are too few rows for one.
        """
        starts = range(0, max(1, len(self._lengths) - batch_size + 1), batch_size)[:most]
        batches = []
        for start in starts:
            rows = [self._rows[row] for row in self._longest_first[start : start + batch_size]]
            batches.append(
                next(iterate_batches(rows, batch_size, max_seq_length, comm_group=comm_group))
            )
        return batches


def read_data(
    data: str, tokenizer_folder: str | None, *, trust_remote_code: bool = False
) -> TrainingRows:
    """The training rows as mlx-lm reads them.

    DataError where mlx-lm cannot read them, or one is not valid for any model; ModelError where
    this model's tokenizer is missing, or cannot take them.
    """
    rows, _ = _read(data, tokenizer_folder, mask_prompt=False, trust_remote_code=trust_remote_code)
    if len(rows) > _MOST_ROWS:
        raise DataError(
            f"--yourai-data: {data} has {len(rows):,} rows, more than the {_MOST_ROWS:,} that can "
            "be inspected: name a part of it"
        )
    return TrainingRows(rows, _lengths(rows, data))


def read_sets(
    data: str, tokenizer_folder: str | None, *, mask_prompt: bool, trust_remote_code: bool = False
) -> tuple[CacheDataset, CacheDataset]:
    """Training and validation rows, tokenized when they are used; the latter may be empty.

    Raises as `read_data` does, but checks no row.
    """
    rows, validation_rows = _read(
        data, tokenizer_folder, mask_prompt=mask_prompt, trust_remote_code=trust_remote_code
    )
    return CacheDataset(rows), CacheDataset(validation_rows)


def _read(
    data: str, tokenizer_folder: str | None, *, mask_prompt: bool, trust_remote_code: bool
) -> tuple[Any, Any]:
    if tokenizer_folder is None:
        raise ModelError("--yourai-data needs a tokenizer: name a model folder that has one")
    if Path(data).exists():
        check_folder(Path(data))
    elif importlib.util.find_spec("datasets") is None:
        raise DataError(
            f"--yourai-data: {data} is not a folder here, and a Hugging Face data set needs the "
            "package datasets: pip install 'pytest-yourai[data]', or name a folder with a "
            "train.jsonl"
        )
    tokenizer = _load_tokenizer(tokenizer_folder, trust_remote_code=trust_remote_code)
    arguments = types.SimpleNamespace(data=data, train=True, test=False, mask_prompt=mask_prompt)
    try:
        rows, validation_rows, _ = load_dataset(arguments, tokenizer)
    except Exception as problem:
        raise DataError(
            f"--yourai-data: {data} cannot be read as mlx-lm does ({_reason(problem)}): "
            "name another, or fix it"
        ) from problem
    if not isinstance(rows, TextDataset) and not tokenizer.has_chat_template:
        raise ModelError(
            f"--yourai-data: {data} has conversations, and the tokenizer in {tokenizer_folder} no "
            "chat template: name a model that has one, or give rows as text"
        )
    return rows, validation_rows


def _load_tokenizer(folder: str, *, trust_remote_code: bool) -> Any:
    try:
        return load_tokenizer(folder, {"trust_remote_code": trust_remote_code})
    except Exception as problem:
        if not trust_remote_code and _brings_code(Path(folder)):
            raise ModelError(
                f"{folder}/tokenizer_config.json: auto_map: the tokenizer brings Python code of "
                "its own, which is not run: add --yourai-trust-remote-code if you trust it"
            ) from problem
        raise ModelError(
            f"--yourai-data: the tokenizer in {folder} cannot be loaded ({_reason(problem)}): fix "
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


def _reason(problem: Exception) -> str:
    return shortened(f"{type(problem).__name__}: {problem}")


def _lengths(rows: Any, data: str) -> list[int]:
    """Tokens of each row; DataError or ModelError where mlx-lm cannot train on one."""
    in_file = Path(data).exists()
    # The format of rows in files was checked before.
    row_format = None if in_file else RowFormat.of(rows[0])
    lengths = []
    for place in range(len(rows)):
        row, number = rows[place], place + 1
        if row_format and (mistake := row_problem(row, row_format)):
            raise DataError(bad_row(f"{data}, row {number}", shortened(mistake), "row"))
        tokens, problem = _count_tokens(rows, row)
        if problem is not None:
            where = f"{Path(data) / 'train.jsonl'}:{number}" if in_file else f"{data}, row {number}"
            raise ModelError(bad_row(where, shortened(problem), "line" if in_file else "row"))
        lengths.append(tokens)
    return lengths


def _count_tokens(rows: Any, row: Any) -> tuple[int, str | None]:
    """The tokens of one row, and why mlx-lm cannot train on it, if so."""
    try:
        tokens = len(rows.process(row)[0])
    except Exception as problem:  # noqa: BLE001 - templates and tokenizers raise anything
        if isinstance(rows, TextDataset) and isinstance(problem, IndexError):
            return 0, "its text gives no tokens"
        return 0, f"it cannot be tokenized ({type(problem).__name__}: {problem})"
    if tokens < _FEWEST_TOKENS:
        return tokens, f"it has {tokens} token{'s' * (tokens != 1)}: there is nothing to predict"
    return tokens, None


class _AsGiven(CacheDataset):  # type: ignore[misc]  # mlx-lm is untyped
    """Pairs of tokens and prompt length: mlx-lm sorts by their lengths, which are all 2."""

    def __getitem__(self, idx: int) -> Any:
        return self._data[idx]


def in_order(seed: int, first_step: int) -> Callable[..., Iterator[Batch]]:
    """A replacement of mlx-lm's `iterate_batches`, which still makes each batch.

    The same batches in the same order as there under `np.random.seed(seed)`, from a generator of
    its own, which nothing else advances; the first `first_step` are skipped unread.
    """

    def iterate(
        dataset: Any, batch_size: int, max_seq_length: int, loop: bool, comm_group: Any
    ) -> Iterator[Batch]:
        batches = _batches(dataset, batch_size)
        random = np.random.RandomState(seed)
        step = 0
        while loop:
            order = random.permutation(len(batches))
            for place in order[max(0, first_step - step) :]:
                rows = _AsGiven([dataset[row] for row in batches[place]])
                yield next(iterate_batches(rows, batch_size, max_seq_length, comm_group=comm_group))
            step += len(batches)

    return iterate


def _batches(dataset: Any, batch_size: int) -> Sequence[Sequence[int]]:
    """The rows of each batch, as mlx-lm groups them."""
    if len(dataset) < batch_size:
        raise DataError(
            f"the data has {len(dataset)} rows, fewer than a batch of {batch_size}: add rows, or "
            "make --batch-size smaller"
        )
    length = getattr(dataset, "itemlen", lambda row: len(dataset[row][0]))
    order = sorted(range(len(dataset)), key=length)
    return [
        order[start : start + batch_size]
        for start in range(0, len(order) - batch_size + 1, batch_size)
    ]
