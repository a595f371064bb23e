"""The start of a training run: model, checkpoint and data, checked before anything is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import CheckpointError, DataError, OptionError, RecipeError
from pytest_yourai.core.files import parse_json
from pytest_yourai.core.hosts import HostGroup
from pytest_yourai.core.parsing import data_source
from pytest_yourai.core.paths import given_path
from pytest_yourai.models.dataset_checks import RowFormat, check_folder
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.plan.hosts import check_hosts
from pytest_yourai.plan.matrix import read_matrix
from pytest_yourai.plan.recipe_file import RecipeFile, data_of, read_recipe
from pytest_yourai.training.checkpoint import (
    Checkpoint,
    check_agreement,
    check_recipe,
    checkpoint_to_resume,
)
from pytest_yourai.training.measured_profile import measured_model
from pytest_yourai.training.option_values import DEFAULTS
from pytest_yourai.training.options import TrainOptions
from pytest_yourai.worker.protocol import TrainingParameters

_SERVICES = ("wandb", "swanlab")
"""Services that mlx-lm reports to, by the names of their packages."""


@dataclass(frozen=True)
class Start:
    """The part of a run that does not depend on its configuration.

    `data` is None for made-up rows, `rows` where their number is not known yet: of a data set of
    the hub, and where some may be left out.
    """

    options: TrainOptions
    presets: Mapping[str, Preset]
    model: Model
    checkpoint: Checkpoint | None
    data: str | None
    rows: int | None
    recipe_file: RecipeFile | None = None


def begin(options: TrainOptions) -> Start:
    """InputError for mistakes that do not depend on the configuration; loads and writes nothing."""
    _check_train_combinations(options)
    if options.group is not None:
        check_hosts(options.group, "--hosts")
    if options.matrix is not None:
        read_matrix(options.matrix)
    recipe_file = None if options.config is None else read_recipe(options.config)
    checkpoint = checkpoint_to_resume(options)
    of_recipe = recipe_file.training.get("report_to") if recipe_file else None
    report_to = options.report_to or (checkpoint.report_to if checkpoint else None) or of_recipe
    if report_to is not None:
        _check_report_to(report_to)
    data = _data(options, checkpoint, recipe_file)
    bad_rows = options.bad_rows or (checkpoint and checkpoint.bad_rows) or DEFAULTS.bad_rows
    rows = None
    if data is not None and bad_rows == "refuse":
        masks = options.mask_prompt or bool(recipe_file and recipe_file.recipe.mask_prompt)
        rows = _inspect_rows(data, mask_prompt=masks)
    if options.batch_size is not None:
        check_rows(rows, options.batch_size, "--batch-size")
        check_shares(options.group, options.batch_size, "--batch-size")
    presets = read_presets(options.presets)
    folder = given_path(options.model, Path.cwd())
    model = resolve(options.model, folder, options.weights, presets, options.quantize)
    if data is not None:
        model.require_tokenizer()
    if checkpoint is not None:
        check_agreement(checkpoint, options, model, rows)
        if recipe_file is not None:
            check_recipe(checkpoint, recipe_file.recipe)
    return Start(options, presets, model, checkpoint, data, rows, recipe_file)


def completed(values: Mapping[str, Any]) -> TrainOptions:
    """The options of flags, with the model and the adapter path of the recipe where none says.

    mlx-lm takes paths relative to the folder where it was started. The model may be the profile's.
    """
    path = values["config"]
    file = None if path is None else read_recipe(path)
    model, folder = values["model"], values["adapter_path"]
    if model is None and file is not None and file.model is not None:
        model = _path_of(file, "model", file.model)[0]
    presets = values["presets"]
    if model is None and values["profile"] is not None:
        model, presets = measured_model(values["profile"], presets)
    if model is None:
        add = "" if path is None else f", or add a line with model: to {path}"
        raise OptionError(f"--model is missing: name a preset, a folder or owner/name{add}")
    if file is not None:
        named = file.training.get("adapter_path")
        folder = folder or (_path_of(file, "adapter_path", named)[1] if named else None)
    return TrainOptions(
        **{
            **values,
            "model": model,
            "presets": presets,
            "adapter_path": folder or Path.cwd() / "adapters",
        }
    )


def _path_of(file: RecipeFile, key: str, text: Any) -> tuple[str, Path]:
    """A name in the recipe, and what it is as a path; RecipeError where it can be none."""
    try:
        return text, given_path(text, Path.cwd())
    except ValueError as problem:
        raise RecipeError(f"{file.path}: {key}: {text!r} is not valid: {problem}") from None


def _data(
    options: TrainOptions, checkpoint: Checkpoint | None, recipe_file: RecipeFile | None
) -> str | None:
    if options.data is not None:
        return options.data
    if checkpoint is not None and checkpoint.data is not None:
        if checkpoint.recipe is not None and checkpoint.recipe.hf_dataset:
            return checkpoint.recipe.data
        try:
            return data_source(checkpoint.data, Path.cwd())
        except ValueError as problem:
            raise CheckpointError(
                f"--data: the checkpoint was trained on {checkpoint.data}, and {problem}"
            ) from None
    if recipe_file is not None and (found := data_of(recipe_file, "--data")) is not None:
        return found
    if options.weights != "synthetic":
        raise OptionError(
            "--data is missing: name a folder with a train.jsonl, or add --weights synthetic for a "
            "dry run with made-up weights and rows"
        )
    return None


def _check_train_combinations(options: TrainOptions) -> None:
    """OptionError if flags contradict each other."""
    if options.profile and options.auto_optimize:
        raise OptionError(
            "--profile and --auto-optimize both choose the configuration: leave one out"
        )
    if options.resume and options.auto_optimize:
        raise OptionError(
            "--resume continues with the configuration of the checkpoint: leave --auto-optimize out"
        )
    for name, value in (("--quick", options.quick), ("--matrix", options.matrix)):
        if value and not options.auto_optimize:
            raise OptionError(
                f"{name} is for the sweep before training: add --auto-optimize, or leave it out"
            )
    if options.pick is not None and not (options.profile or options.auto_optimize):
        raise OptionError(
            f"--pick {options.pick} chooses among measured configurations: add --profile or "
            "--auto-optimize, or leave it out"
        )
    if options.quick and options.matrix:
        raise OptionError("--quick and --matrix both name a matrix: leave one out")
    if options.hosts_backend is not None and options.hosts is None:
        raise OptionError("--hosts-backend needs ranks: add --hosts N or --hosts FILE")
    is_reported = options.report_to is not None or options.resume
    if options.project_name is not None and not is_reported:
        raise OptionError("--project-name needs a service to report to: add --report-to")


def _check_report_to(names: str) -> None:
    """OptionError if one of the services is unknown or not installed."""
    for name in (each.strip().lower() for each in names.split(",")):
        if name not in _SERVICES:
            raise OptionError(
                f"--report-to: mlx-lm does not report to {name!r}: name {', '.join(_SERVICES)}, or "
                "both with a comma between"
            )
        if importlib.util.find_spec(name) is None:
            raise OptionError(f"--report-to: {name} is not installed: pip install {name}")


def _inspect_rows(data: str, *, mask_prompt: bool) -> int | None:
    """The number of training rows in the folder `data`; None for a data set of the hub.

    DataError if mlx-lm cannot read one of them.
    """
    folder = Path(data)
    if not folder.is_absolute():
        return None
    check_folder(folder)
    path = folder / "train.jsonl"
    with path.open(encoding="utf-8") as lines:
        first = parse_json(next(lines))
        rows = 1 + sum(1 for _ in lines)
    if mask_prompt and RowFormat.of(first) is RowFormat.TEXT:
        raise DataError(
            f"--mask-prompt: {path} has rows of text, which have no prompt: leave it out"
        )
    return rows


def check_validation(parameters: TrainingParameters, data: str | None, rows: int) -> None:
    """DataError if something is to be decided by a validation that has no `rows`, or no batches."""
    deciding = [f"--patience {parameters.patience}"] if parameters.patience else []
    if parameters.keep == "best":
        deciding.append("--keep best")
    if not deciding or (rows and parameters.val_batches):
        return
    lacking = "--val-batches 0 leaves out" if rows else f"{data or 'made-up data'} has no rows for"
    remedy = "raise that" if rows else "add a valid.jsonl"
    raise DataError(
        f"{deciding[0]} needs validations, which {lacking}: {remedy}, or leave {deciding[0]} out"
    )


def check_shares(group: HostGroup | None, batch_size: int, origin: str) -> None:
    """OptionError if the ranks cannot divide a batch; `origin` is where its size comes from."""
    if group is None or not batch_size % group.world_size:
        return
    ranks = group.world_size
    raise OptionError(
        f"--hosts: {ranks} ranks cannot share a batch of {batch_size} rows ({origin}): give a "
        f"--batch-size that {ranks} divides, such as {batch_size + ranks - batch_size % ranks}"
    )


def check_validation_shares(group: HostGroup | None, rows: int) -> None:
    """DataError if there are fewer rows for validation than ranks: none could take part."""
    if group is not None and 0 < rows < group.world_size:
        raise DataError(
            f"--data: valid.jsonl has {rows} rows for {group.world_size} ranks: add rows, or leave "
            "validation out with --val-batches 0"
        )


def check_rows(rows: int | None, batch_size: int, origin: str) -> None:
    """DataError if a step needs more rows; `origin` is where its batch size comes from."""
    if rows is not None and rows < batch_size:
        raise DataError(
            f"--data: {rows} rows are fewer than the batch size of {batch_size} ({origin}): add "
            f"rows, or give a --batch-size of at most {rows}"
        )
