"""What fits where, as text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cmarkgfm
import pytest

from pytest_yourai.report.fits_text import LEGEND, formatted
from pytest_yourai.store.what_fits.measured import read_collection
from pytest_yourai.store.what_fits.table import FitsTable

from support.fits import MAX_64, PRO_24, of_machine, written
from support.profiles import HOSTILE, hostile


@pytest.fixture
def table(tmp_path: Path) -> FitsTable:
    """Measured twice, nothing that fits, carried over, and what would not fit."""

    def other(found: dict[str, object]) -> None:
        found["model"] = "another"

    air = MAX_64 | {"chip": "Apple M1", "gpu_cores": 8, "system_memory_bytes": 8 << 30}
    documents = (
        of_machine(MAX_64, 51),
        of_machine(MAX_64, 51, speed=1.02),
        of_machine(PRO_24, 5),
        of_machine(air, 6, other),
    )
    return FitsTable.of(read_collection([written(tmp_path, *documents)]).profiles)


def test_a_table_for_a_terminal(table: FitsTable) -> None:
    rows = [
        ("machine", "another", "llama-8b"),
        ("memory", "4-bit, 512 tokens", "4-bit, 512 tokens"),
        ("MLX", "lora, adam, qkvo", "lora, adam, qkvo"),
        ("", "", ""),
        ("Apple M1, 8 GPU cores", "–", "~ –"),
        ("8.6 GB (8 GiB)", "at least 6.9 GB", "at least 6.9 GB"),
        ("metal, MLX 0.32.4", "in 6.0 GB", "in 6.0 GB"),
        ("", "", ""),
        (
            "Apple M4 Max, 40 GPU cores",
            "~ batch=4, rank=128, layers=32",
            "batch=4, rank=128, layers=32",
        ),
        ("68.7 GB (64 GiB)", "needs 18.9 GB", "needs 18.9 GB"),
        ("metal, MLX 0.32.4", "", "3,474 tokens/s, 2 runs ± 1.0 %"),
        ("", "", ""),
        ("Apple M4 Pro, 16 GPU cores", "~ –", "–"),
        ("25.8 GB (24 GiB)", "at least 6.9 GB", "at least 6.9 GB"),
        ("metal, MLX 0.32.4", "in 5.0 GB", "in 5.0 GB"),
        ("", "", ""),
    ]
    expected = [f"{a:28}{b:32}{c}".rstrip() for a, b, c in rows]
    assert formatted(table, "table").splitlines() == [*expected, LEGEND]


def test_what_is_too_wide_goes_below(table: FitsTable) -> None:
    lines = formatted(table, "table", width=70).splitlines()
    assert max(map(len, lines[:-1])) <= 70
    assert sum(line.startswith("machine") for line in lines) == 2


def test_a_table_for_github(table: FitsTable) -> None:
    text = formatted(table, "md")
    page = cmarkgfm.github_flavored_markdown_to_html(text)
    assert page.count("<tr>") == 4
    assert "batch=4, rank=128, layers=32<br>needs 18.9 GB<br>3,474 tokens/s" in text


def test_rows_for_programs(table: FitsTable) -> None:
    rows = json.loads(formatted(table, "json"))
    assert len(rows) == 6
    [measured] = [each for each in rows if each["mark"] == "measured"]
    assert measured["machine"] == "Apple M4 Max, 40 GPU cores"
    assert measured["needs_bytes"] == 18_870_379_048
    assert measured["spread"] == pytest.approx(0.02, rel=0.1)
    [carried] = [each for each in rows if each["mark"] == "carried_over"]
    assert carried["measured_on"] != carried["machine"]
    assert carried["tokens_per_second"] is None
    by_line = list(csv.DictReader(io.StringIO(formatted(table, "csv"))))
    assert [each["mark"] for each in by_line] == [each["mark"] for each in rows]
    assert list(by_line[0]) == list(rows[0])


def test_checkpointing_is_part_of_a_configuration(tmp_path: Path) -> None:
    def checkpointed(found: dict[str, object]) -> None:
        rows: list[dict[str, object]] = found["all_results"]  # type: ignore[assignment]
        for row in rows:
            row["grad_checkpoint"] = True

    found = read_collection([written(tmp_path, of_machine(MAX_64, 51, checkpointed))])
    assert "batch=4, rank=128, layers=32, checkpoint" in formatted(
        FitsTable.of(found.profiles), "table"
    )


def test_a_failure_without_memory_says_what_is_known(tmp_path: Path) -> None:
    def died(found: dict[str, object]) -> None:
        rows: list[dict[str, object]] = found["all_results"]  # type: ignore[assignment]
        for row in rows:
            row.update(outcome="oom", success=False, minimum_memory_bytes=None)
            row.update(peak_memory_bytes=None)

    found = read_collection([written(tmp_path, of_machine(MAX_64, None, died))])
    lines = formatted(FitsTable.of(found.profiles), "table").splitlines()
    assert lines[4].endswith("  –")
    assert lines[5] == "68.7 GB (64 GiB)"


def test_names_of_files_are_text(tmp_path: Path) -> None:
    found = read_collection([written(tmp_path, hostile())])
    assert HOSTILE not in formatted(FitsTable.of(found.profiles), "md")
