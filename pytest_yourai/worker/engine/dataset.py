"""Training data: read, tokenized, checked and made into batches by mlx-lm itself."""

from __future__ import annotations

import importlib.metadata
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm.tuner.datasets import (
    CacheDataset,
    ConcatenatedDataset,
    create_dataset,
    load_custom_hf_dataset,
    load_hf_dataset,
)

from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.models.dataset_checks import (
    OR_SKIP,
    BadRow,
    data_files,
    read_lines,
    refusal,
    shortened,
)
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import RowReading
from pytest_yourai.worker.engine.row_checks import Progress, RowCheck, check_rows
from pytest_yourai.worker.engine.tokenizer import check_tokenizer, failure, read_tokenizer
from pytest_yourai.worker.engine.training_rows import TrainingRows
from pytest_yourai.worker.protocol import RowsRead

_MOST_ROWS = 2_000_000
"""The lengths of this many still fit into one message to the parent."""


@dataclass(frozen=True)
class ReadData:
    """The rows that are trained on and validated with; `validation` may be empty."""

    rows: TrainingRows
    validation: Any
    notes: tuple[str, ...]
    left_out: int

    def summary(self) -> TrainingData:
        """What the parent needs to know of them."""
        lengths = self.rows.summary().lengths
        return TrainingData(lengths, self.notes, self.left_out, len(self.validation))


@dataclass(frozen=True)
class _Set:
    """A data set of mlx-lm, None without rows; `places` names each of its rows.

    `bad` are lines that could not be read. `file` is None for a data set of the hub.
    """

    rows: Any
    places: Sequence[str]
    bad: tuple[BadRow, ...] = ()
    file: Path | None = None

    def bad_row(self, row: int, reason: str) -> BadRow:
        return BadRow(self.places[row], reason, "line" if self.file else "row")


_NO_SET = _Set(None, ())


class _Kept:
    """The rows of one of mlx-lm's data sets that are not left out."""

    def __init__(self, rows: Any, places: Sequence[int]) -> None:
        self._rows = rows
        self._places = places

    def process(self, row: Any) -> Any:
        return self._rows.process(row)

    def __getitem__(self, place: int) -> Any:
        return self._rows[self._places[place]]

    def __len__(self) -> int:
        return len(self._places)


def read_data(
    data: str,
    tokenizer_folder: str | None,
    reading: RowReading,
    vocabulary: int | None = None,
    report: Callable[[RowsRead], None] = lambda _: None,
    *,
    trust_remote_code: bool = False,
) -> ReadData:
    """The data as mlx-lm reads it, each row tokenized, masked and cut to see that it can.

    `vocabulary` is the number of ids that the model can embed. DataError where mlx-lm cannot read
    the data, whatever the model; ModelError where this model's tokenizer is missing, or cannot take
    it. Rows that cannot be trained on are left out if `reading` says so.
    """
    train, valid, test = _read_sets(
        data, tokenizer_folder, reading, trust_remote_code=trust_remote_code
    )
    sets = [each for each in (train, valid, test) if each.rows is not None]
    progress = Progress(sum(len(each.rows) for each in sets), report)
    checks = [
        check_rows(each.rows, each.file, str(tokenizer_folder), reading, vocabulary, progress)
        if each.rows is not None
        else RowCheck((), {}, (), misshapen=False)
        for each in (train, valid, test)
    ]
    untrainable = [
        each.bad_row(row, reason)
        for each, check in zip((train, valid), checks[:2], strict=True)
        for row, reason in check.problems.items()
    ]
    left_out = [*train.bad, *valid.bad, *untrainable]
    rows, lengths = _kept(train, checks[0])
    if untrainable and (reading.bad_rows == "refuse" or not lengths):
        kind = DataError if any(check.misshapen for check in checks[:2]) else ModelError
        raise kind(refusal(untrainable, OR_SKIP if lengths else ""))
    notes = tuple(_notes(left_out, (train, valid, test), checks))
    validation = CacheDataset(_kept(valid, checks[1])[0]) if valid.rows is not None else []
    return ReadData(TrainingRows(rows, lengths), validation, notes, len(left_out))


def _kept(read: _Set, check: RowCheck) -> tuple[Any, list[int]]:
    """The rows that can be trained on, and their lengths."""
    places = [place for place in range(len(check.lengths)) if place not in check.problems]
    rows = read.rows if len(places) == len(check.lengths) else _Kept(read.rows, places)
    return rows, [check.lengths[place] for place in places]


def _notes(
    left_out: Sequence[BadRow], sets: Sequence[_Set], checks: Sequence[RowCheck]
) -> Iterator[str]:
    if left_out:
        first, count = left_out[0], len(left_out)
        yield (
            f"{count:,} row{'s are' if count > 1 else ' is'} left out of the data; the first, "
            f"{first.place}: {shortened(first.reason)}"
        )
    only_padding = [
        each.places[row]
        for each, check in zip(sets[:2], checks[:2], strict=True)
        for row in check.only_padding
    ]
    if only_padding:
        yield (
            f"{len(only_padding):,} row{'s have' if len(only_padding) > 1 else ' has'} no token to "
            f"learn but mlx-lm's padding; the first: {only_padding[0]}"
        )
    tests, problems = sets[2], checks[2].problems
    if problems:
        row = min(problems)
        yield (
            f"{tests.places[row]}: {shortened(problems[row])} (the first of {len(problems):,} "
            "bad rows): training does not read it, but mlx_lm.lora --test would fail"
        )


@dataclass(frozen=True)
class _Lines:
    """The lines of one file: its rows, in words where they are, and lines that are none."""

    path: Path
    rows: list[Any]
    places: list[str]
    bad: tuple[BadRow, ...]


def _read_folder(folder: Path, reading: RowReading) -> list[_Lines]:
    """The files of the folder; one that is missing has no rows. DataError where one is refused."""
    found = []
    for path in data_files(folder):
        numbered = list(read_lines(path)) if path.exists() else []
        bad = tuple(row for _, row in numbered if isinstance(row, BadRow))
        rows = [(f"{path}:{number}", row) for number, row in numbered if isinstance(row, dict)]
        if bad and (reading.bad_rows == "refuse" or not rows):
            raise DataError(refusal(bad, OR_SKIP if rows else ""))
        found.append(_Lines(path, [row for _, row in rows], [place for place, _ in rows], bad))
    return found


def _check_datasets(data: str) -> None:
    """DataError unless the package is installed: a folder `datasets` of the project is not it."""
    try:
        importlib.metadata.version("datasets")
    except importlib.metadata.PackageNotFoundError:
        raise DataError(
            f"--yourai-data: {data} is not a folder here, and a Hugging Face data set needs the "
            "package datasets: pip install 'pytest-yourai[data]', or name a folder with a "
            "train.jsonl"
        ) from None


def _read_sets(
    data: str, folder: str | None, reading: RowReading, *, trust_remote_code: bool
) -> list[_Set]:
    """The sets for training, validation and test, which have `folder`'s tokenizer."""
    if folder is None:
        raise ModelError("--yourai-data needs a tokenizer: name a model folder that has one")
    arguments = types.SimpleNamespace(mask_prompt=reading.mask_prompt)
    is_folder = not reading.hf_dataset and Path(data).exists()
    files = _read_folder(Path(data), reading) if is_folder else None
    if files is None:
        _check_datasets(data)
    tokenizer = read_tokenizer(folder, trust_remote_code=trust_remote_code)
    try:
        if files is not None:
            sets = [_of_file(each, tokenizer, arguments) for each in files]
        else:
            found = _of_recipe(data, tokenizer, reading)
            names = ("train", "valid", "test")
            sets = [_of_hub(data, *each) for each in zip(names, found, strict=True)]
    except Exception as problem:
        raise DataError(
            f"--yourai-data: {data} cannot be read as mlx-lm does ({failure(problem)}): "
            "name another, or fix it"
        ) from problem
    train = sets[0]
    if train.rows is None:
        raise DataError(f"--yourai-data: {data} has no rows to train on: add a train.jsonl")
    if len(train.rows) > _MOST_ROWS:
        raise DataError(
            f"--yourai-data: {data} has {len(train.rows):,} rows, more than the {_MOST_ROWS:,} "
            "that can be inspected: name a part of it"
        )
    is_joined = isinstance(train.rows, ConcatenatedDataset)
    for each in train.rows._data if is_joined else [train.rows]:  # noqa: SLF001 - mlx-lm's
        check_tokenizer(data, each, tokenizer, folder)
    return sets


def _of_recipe(data: str, tokenizer: Any, reading: RowReading) -> Any:
    """The sets of the Hugging Face data set `data`, or of those of the recipe."""
    arguments = types.SimpleNamespace(mask_prompt=reading.mask_prompt)
    if not reading.hf_dataset:
        return load_hf_dataset(data, tokenizer, arguments)
    # mlx-lm writes into the mappings. Training reads no test set.
    arguments.hf_dataset = [dict(each) for each in reading.hf_dataset]
    arguments.train, arguments.test = True, False
    return load_custom_hf_dataset(arguments, tokenizer)


def _of_file(lines: _Lines, tokenizer: Any, arguments: Any) -> _Set:
    rows = create_dataset(lines.rows, tokenizer, arguments) if lines.rows else None
    return _Set(rows, lines.places, lines.bad, lines.path)


def _of_hub(data: str, name: str, rows: Any) -> _Set:
    if not len(rows):
        return _NO_SET
    return _Set(rows, _HubPlaces(data if name == "train" else f"{data}, {name}", len(rows)))


@dataclass(frozen=True)
class _HubPlaces(Sequence[str]):
    """`owner/name, row 1` and so on."""

    name: str
    rows: int

    def __getitem__(self, place: Any) -> Any:
        return f"{self.name}, row {place + 1}"

    def __len__(self) -> int:
        return self.rows
