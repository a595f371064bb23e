"""Rows that mlx-lm would fail at are found first, and reported with file, line and remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import DataError
from pytest_yourai.models.dataset_checks import RowFormat, check_folder, row_problem

from support.models import write_rows

REMEDIES = ": fix or remove the line, or leave such rows out with --yourai-bad-rows skip"

GOOD_CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
}


def said(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        check_folder(folder)
    return str(caught.value)


def write(folder: Path, *lines: bytes) -> Path:
    (folder / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "a", "messages": [], "prompt": "b", "completion": "c"}, RowFormat.COMPLETIONS),
        ({"text": "a", "messages": [], "prompt": "b"}, RowFormat.CHAT),
        ({"text": "a", "completion": "b"}, RowFormat.TEXT),
        ({"words": "a"}, None),
    ],
)
def test_the_format_is_the_one_that_mlx_lm_takes(
    row: dict[str, Any], expected: RowFormat | None
) -> None:
    assert RowFormat.of(row) is expected


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": ""}, {"text": "a", "messages": None, "score": float("nan")}],
        [{"prompt": "a", "completion": "b", "tools": None}, {"prompt": "", "completion": ""}],
        [
            GOOD_CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a"}]},
                    {"role": "assistant", "tool_calls": [{"id": "1"}]},
                    {"role": "tool", "content": "b"},
                ],
                "tools": [{"type": "function"}],
            },
        ],
    ],
)
def test_what_mlx_lm_reads_passes(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    check_folder(write_rows(tmp_path, rows))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is blank"),
        (b"  \t", "the line is blank"),
        (b"{", "it is not valid JSON (Expecting property name"),
        (b'{"text": "\xff\xfe"}', "it is not UTF-8"),
        (b'{"text": "a"} {"text": "b"}', "it is not valid JSON (Extra data"),
        (b'"text"', "it must be a JSON object, not a string"),
        (b"[1]", "it must be a JSON object, not a list"),
        (b"NaN", "it must be a JSON object, not NaN"),
        (b'{"messages": []}', "it has no text, which the first row has"),
        (b"[" * 100_000, "it is not valid JSON"),
        (b'{"text": ' + b"9" * 5000 + b"}", "it is not valid JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    message = said(write(tmp_path, b'{"text": "good"}', line, b'{"text": "good"}'))
    assert message.startswith(f"--yourai-data: {tmp_path}/train.jsonl:2: {reason}")
    assert message.endswith(REMEDIES)
    assert len(message) < len(str(tmp_path)) + 300


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None}, "text must be a string, not null"),
        ({"text": ["a"]}, "text must be a string, not a list"),
        ({"text": True}, "text must be a string, not true or false"),
        ({"text": 3.5}, "text must be a string, not 3.5"),
        ({"prompt": "a", "completion": ["b"]}, "completion must be a string, not a list"),
        ({"messages": "a"}, "messages must be a list, not a string"),
        ({"messages": []}, "messages is an empty list"),
        ({"messages": ["a"]}, "messages[0] must be an object, not a string"),
        ({"messages": [{"content": "a"}]}, "messages[0].role is missing"),
        ({"messages": [*GOOD_CHAT["messages"], {"role": "user"}]}, "messages[2] needs content"),
        ({**GOOD_CHAT, "tools": "search"}, "tools must be a list, not a string"),
    ],
)
def test_why_a_row_cannot_be_tokenized_is_explained(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    """Only tokenizing decides: some templates take what is unusual."""
    check_folder(write_rows(tmp_path, [row]))
    row_format = RowFormat.of(row)
    assert row_format is not None
    assert reason in (row_problem(row, row_format) or "")


def test_the_first_bad_line_is_named_and_all_are_counted(tmp_path: Path) -> None:
    lines = [b'{"text": "a"}', b"", b'{"words": 1}', b'{"text": "b"}', b"x"]
    assert said(write(tmp_path, *lines)).endswith(
        f"train.jsonl:2: the line is blank (the first of 3 bad lines){REMEDIES}"
    )


def test_lines_end_where_they_do_for_mlx_lm(tmp_path: Path) -> None:
    separators = json.dumps({"text": "one\u2028line\x85still"}, ensure_ascii=False).encode()
    message = said(write(tmp_path, b'{"text": "a"}\r', separators, b'{"words": 3}'))
    assert "train.jsonl:3: it has no text, which the first row has" in message


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    message = said(write(tmp_path, b'\xef\xbb\xbf{"text": "a"}'))
    assert "train.jsonl:1: it begins with a byte order mark: fix" in message


def test_a_first_row_without_any_format(tmp_path: Path) -> None:
    message = said(write_rows(tmp_path, [{"words": "a"}]))
    assert (
        "no data format of mlx-lm: a row needs prompt and completion, messages or text" in message
    )


def test_the_other_files_that_mlx_lm_reads_are_checked_too(tmp_path: Path) -> None:
    write_rows(tmp_path, [{"text": "a"}])
    write_rows(tmp_path, [GOOD_CHAT], "valid")
    check_folder(tmp_path)
    (tmp_path / "valid.jsonl").write_text("")
    assert f"{tmp_path}/valid.jsonl is empty: fill it or remove it" in said(tmp_path)
    (tmp_path / "valid.jsonl").unlink()
    (tmp_path / "test.jsonl").mkdir()
    assert "test.jsonl is not a file: put one in its place, or remove it" in said(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "valid.jsonl")
    assert "valid.jsonl is not a file" in said(tmp_path)
