"""How the settings of a training run are printed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_yourai.cli.train import lines
from pytest_yourai.training.resolve_settings import train_settings

from support.training import asked


def test_the_table_is_aligned_and_warnings_follow(tmp_path: Path) -> None:
    settings = train_settings(asked(tmp_path, rank=16), lambda _: None)
    settings = dataclasses.replace(settings, warnings=("add --yourai-force", "no use"))
    printed = list(lines(settings))
    table = printed[: len(settings.used)]
    where = {line.index(each.origin) for line, each in zip(table, settings.used, strict=True)}
    assert len(where) == 1
    assert [line.split() for line in table if "rank" in line] == [
        ["lora_rank", "16", "--lora-rank"]
    ]
    assert printed[len(table) :] == ["Warning: add --force", "Warning: no use"]
