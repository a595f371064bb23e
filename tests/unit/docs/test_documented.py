"""The check of documented outputs, which itself must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.documented import Shown, commands, lacking, shape

PRINTED = """
Budget: 20.2 GB (80 % of 25.3 GB)

[1/12] batch=1, rank=4, layers=2 ... ✓ needs 2.2 MB, takes 2.9 MB, 52ms/step ± 11.7 %
[2/12] batch=1, rank=4, layers=4 ... ✓ needs 1.2 GB, takes 3.8 GB, 0.10s/step ± 30.0 %!
Saved to: optimal_config.json
""".splitlines()


@pytest.mark.parametrize(
    "shown",
    [
        ["Budget: 1.0 GB (80 % of 2.0 MB)", "…", "Saved to: optimal_config.json"],
        ["…", "[7/9] batch=3, rank=1, layers=2 ... ✓ needs 9 MB, takes 8 MB, 1.5s/step ± 1 %!"],
        ["...", "[7/9] batch=3, … ± 1 %", "…", "Saved to: …"],
        ["Budget: 20.2 GB (…)"],
        [],
    ],
)
def test_numbers_times_and_what_is_left_out_do_not_matter(shown: list[str]) -> None:
    assert lacking(shown, PRINTED) is None


@pytest.mark.parametrize(
    "shown",
    [
        ["Budget: 20.2 GB"],
        ["Saved to: optimal_config.json"],
        ["Budget: 20.2 GB (80 % of 25.3 GB)", "Saved to: optimal_config.json"],
        ["…", "Saved to: other.json"],
        ["…", "Saved to: optimal_config.json", "…", "Budget: 20.2 GB (80 % of 25.3 GB)"],
        ["…", "Saved to: optimal_config.json", "and more"],
        ["…", "[7/9] batch=3, rank=1, layers=2 ... ✗ over budget: needs 9 MB"],
    ],
)
def test_another_text_order_or_line_matters(shown: list[str]) -> None:
    assert lacking(shown, PRINTED) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("peak 11.6 MB (-0.0 %)", "peak 9 GB (+2.1 %)"),
        ("Device: AMD EPYC (cpu), MLX 0.32.4, memory: 1 GB", "Device: M4 (metal), MLX 0.33.0, x"),
        ("64–96  ███  60", "64–96  █  3"),
        ("of 2026-11-27 20:37 UTC", "of 2025-01-02 00:00 UTC"),
    ],
)
def test_these_have_one_shape(one: str, other: str) -> None:
    assert shape(one) == shape(other)


def test_commands_are_found_with_their_outputs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nyourai fit tiny  # quick\na && b > c\n```\n"
        "```console\n$ one \\\n    --more\nout\n$ two\n```\n```text\nno command\n```\n"
    )
    assert list(commands(page)) == [
        Shown(page, "yourai fit tiny  # quick"),
        Shown(page, "a && b > c"),
        Shown(page, "one     --more", ("out",)),
        Shown(page, "two", ()),
    ]
    assert [list(each.parts()) for each in commands(page)] == [
        [["yourai", "fit", "tiny"]],
        [["a"], ["b"]],
        [["one", "--more"]],
        [["two"]],
    ]
