"""Lengths of training rows without a sweep: a worker reads them, with mlx-lm."""

from __future__ import annotations

from collections.abc import Callable

from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import ModelSource, RowReading
from pytest_yourai.store.journal import TaggedLog
from pytest_yourai.worker.host import WorkerHost


def rows_reader(
    start_timeout_s: float, print_line: Callable[[str], None] = lambda _: None
) -> Callable[[ModelSource, str, RowReading], TrainingData]:
    """A function that reads data with the tokenizer of a model; no weights are loaded.

    It raises BackendError, DataError, RecipeError and ModelError as `WorkerHost.inspect`.
    """

    def read(source: ModelSource, data: str, reading: RowReading) -> TrainingData:
        host = WorkerHost(source, TaggedLog(), start_timeout_s)
        try:
            _, inspection = host.inspect(data, reading, print_line)
        finally:
            host.end()
        if inspection.data is None:
            raise RuntimeError("a worker that was asked for data has read none")
        return inspection.data

    return read
