"""How the settings of a training run are printed, and that one run at a time has its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_yourai.cli.main import main
from pytest_yourai.cli.train import lines
from pytest_yourai.training.resolve_settings import train_settings
from pytest_yourai.training.run_folder import locked
from pytest_yourai.worker.checkpoint_file import CHECKPOINT

from support import faults
from support.training import asked, saved


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


def test_the_second_of_two_resumes_is_refused_before_it_reads_the_checkpoint(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    folder = saved(tmp_path)
    (folder / CHECKPOINT).write_bytes(b"not to be read")
    arguments = ["train", "--model", "tiny", "--adapter-path", str(folder), "--resume"]
    with locked(folder):
        status = main(arguments)
    message = capsys.readouterr().err
    right = status == 2 and "is in use by another training run: wait for it" in message
    faults.report(record_property, faults.Judgement("two resumes at once", right, 0, 0))
    assert main(arguments) == 2
    assert "it is damaged" in capsys.readouterr().err
