from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import OutputError
from pytest_yourai.machine.leak import Growth
from pytest_yourai.training.metrics_file import METRICS_NAME, MetricsFile
from pytest_yourai.worker.protocol import SkippedBatch, Validated

from support.training import a_step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / METRICS_NAME


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_is_there_as_soon_as_its_step_is_over(path: Path) -> None:
    file = MetricsFile(path, 0)
    file.step(a_step(1))
    assert rows(path) == [
        {
            "step": 1,
            "train_loss": 2.0,
            "step_time_s": 0.1,
            "tokens_per_second": 2000,
            "tokens": 200,
            "learning_rate": 1e-5,
        }
    ]
    file.validated(Validated(1, 2.5, 0.7))
    assert rows(path)[1] == {"step": 1, "val_loss": 2.5, "val_time_s": 0.7}
    file.step(a_step(2, loss=math.nan, step_time_s=0), Growth(2_500_000, None))
    assert rows(path)[2] == {
        "step": 2,
        "train_loss": None,
        "step_time_s": 0,
        "tokens_per_second": None,
        "tokens": 200,
        "learning_rate": 1e-5,
        "active_memory_gb": 5,
        "peak_memory_gb": 15,
        "cache_memory_gb": 0.2,
        "footprint_gb": 17,
        "active_growth_mb_per_step": 2.5,
        "footprint_growth_mb_per_step": None,
    }
    file.close()
    file.close()
    assert file.problem is None


def test_going_on_drops_what_is_trained_again_and_torn_lines(path: Path) -> None:
    file = MetricsFile(path, 0)
    for number in range(1, 7):
        file.step(a_step(number))
    file.validated(Validated(4, 2.5, 0.7))
    file.close()
    with path.open("ab") as torn:
        torn.write(b'\xff\x00\n[4]\n{"step": null}\n{"step": 3, "train_lo')
    again = MetricsFile(path, 4)
    again.step(a_step(5, loss=9.0))
    again.close()
    assert [(row["step"], row.get("train_loss")) for row in rows(path)] == [
        *((number, 2.0) for number in range(1, 5)),
        (4, None),
        (5, 9.0),
    ]


def test_a_file_with_nothing_to_drop_stays_the_same_file(path: Path) -> None:
    MetricsFile(path, 0).step(a_step(1))
    before = path.stat()
    MetricsFile(path, 1).close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--adapter-path: .*nowhere.* cannot be written: No such"):
        MetricsFile(tmp_path / "nowhere" / METRICS_NAME, 0)
    with pytest.raises(OutputError, match="cannot be written: it is a folder"):
        MetricsFile(tmp_path, 3)


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As if the disk were full then; for this process, so that nothing may print meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_ends_the_rows_but_nothing_else(path: Path) -> None:
    with files_of_at_most(1000):
        file = MetricsFile(path, 0)
        for number in range(1, 20):
            file.step(a_step(number))
        file.close()
    assert path.stat().st_size == 1000
    assert file.problem == f"{path} could not be written: File too large"
    again = MetricsFile(path, 100)
    again.close()
    assert [row["step"] for row in rows(path)] == list(range(1, len(rows(path)) + 1))


def test_a_file_that_is_removed_is_reported(path: Path) -> None:
    file = MetricsFile(path, 0)
    os.unlink(path)  # noqa: PTH108 - as somebody else would
    file.step(a_step(1))
    assert file.problem == f"{path} was removed while training went on"


def test_a_skipped_batch_has_a_row_without_a_loss_that_was_trained(path: Path) -> None:
    file = MetricsFile(path, 0)
    file.skipped(SkippedBatch(7, math.nan, 2))
    assert rows(path) == [{"step": 7, "skipped_loss": "nan"}]
