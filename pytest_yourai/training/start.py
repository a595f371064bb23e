"""The start of a training run: model, checkpoint and data, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core.errors import CheckpointError, OptionError
from pytest_yourai.core.paths import given_path
from pytest_yourai.models.dataset_checks import data_source
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import Model, resolve
from pytest_yourai.plan.matrix import read_matrix
from pytest_yourai.training.checkpoint import Checkpoint, check_agreement, checkpoint_to_resume
from pytest_yourai.training.checks import (
    check_adapter_path,
    check_report_to,
    check_rows,
    check_train_combinations,
    inspect_rows,
)
from pytest_yourai.training.options import TrainOptions


@dataclass(frozen=True)
class Start:
    """The part of a run that does not depend on its configuration.

    `data` is None for made-up rows, `rows` for a data set of the hub, whose size is not known yet.
    """

    options: TrainOptions
    presets: Mapping[str, Preset]
    model: Model
    checkpoint: Checkpoint | None
    data: str | None
    rows: int | None


def begin(options: TrainOptions) -> Start:
    """InputError for mistakes that do not depend on the configuration; loads and writes nothing."""
    check_train_combinations(options)
    if options.matrix is not None:
        read_matrix(options.matrix)
    check_adapter_path(options.adapter_path)
    checkpoint = checkpoint_to_resume(options)
    report_to = options.report_to or (checkpoint.report_to if checkpoint else None)
    if report_to is not None:
        check_report_to(report_to)
    data = _data(options, checkpoint)
    rows = None if data is None else inspect_rows(data, mask_prompt=options.mask_prompt or False)
    if options.batch_size is not None:
        check_rows(rows, options.batch_size, "--batch-size")
    presets = read_presets(options.presets)
    folder = given_path(options.model, Path.cwd())
    model = resolve(options.model, folder, options.weights, presets)
    if data is not None:
        model.require_tokenizer()
    if checkpoint is not None:
        check_agreement(checkpoint, options, model, rows)
    return Start(options, presets, model, checkpoint, data, rows)


def _data(options: TrainOptions, checkpoint: Checkpoint | None) -> str | None:
    if options.data is not None:
        return options.data
    if checkpoint is not None and checkpoint.data is not None:
        try:
            return data_source(checkpoint.data, Path.cwd())
        except ValueError as problem:
            raise CheckpointError(
                f"--data: the checkpoint was trained on {checkpoint.data}, and {problem}: name "
                "where it is now"
            ) from None
    if options.weights != "synthetic":
        raise OptionError(
            "--data is missing: name a folder with a train.jsonl, or add --weights synthetic for a "
            "dry run with made-up weights and rows"
        )
    return None
