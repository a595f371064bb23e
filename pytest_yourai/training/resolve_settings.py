"""From options to settings: what is used, where each value comes from, what is to be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import CheckpointError, OptionError
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.paths import given_path
from pytest_yourai.core.units import gigabytes
from pytest_yourai.models.dataset_checks import data_source
from pytest_yourai.models.presets import Preset, read_presets
from pytest_yourai.models.resolve import Model, resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.matrix import read_matrix
from pytest_yourai.training.auto_optimize import sweep
from pytest_yourai.training.checkpoint import (
    KEPT,
    Checkpoint,
    about,
    check_agreement,
    check_model,
    checkpoint_to_resume,
)
from pytest_yourai.training.checks import (
    check_adapter_path,
    check_report_to,
    check_rows,
    inspect_rows,
)
from pytest_yourai.training.choices import (
    Choices,
    ChosenConfig,
    measured_baseline,
    memory_limit,
    source_of,
)
from pytest_yourai.training.measured_profile import (
    ProfileDifferences,
    profile_differences,
    read_profile,
)
from pytest_yourai.training.settings import (
    MeasuredBaseline,
    Setting,
    TrainOptions,
    TrainSettings,
    check_train_combinations,
)

_AS_CHOSEN = (
    "max_steps",
    "learning_rate",
    "seed",
    "save_every",
    "reload_interval",
    "memory_report_interval",
    "steps_per_eval",
    "val_batches",
    "mask_prompt",
    "report_to",
    "project_name",
)
"""What the settings take as an option, the checkpoint, the profile or the default has it."""


@dataclass(frozen=True)
class Start:
    """What is known of a run before it is decided how to train.

    `data` None stands for made-up rows; `rows` is how many there are, None where that takes the
    data set of the hub to tell.
    """

    options: TrainOptions
    presets: Mapping[str, Preset]
    model: Model
    checkpoint: Checkpoint | None
    data: str | None
    rows: int | None


def train_settings(options: TrainOptions, say: Callable[[str], None]) -> TrainSettings:
    """All that a run needs, with the sweep run and the weights downloaded where that is asked for.

    `say` gets lines for people. InputError for whatever cannot be as asked, before either;
    SweepFailedError where a sweep has no answer. KeyboardInterrupt ends the sweep, too.
    """
    start = begin(options)
    decision = sweep(options, start.model, start.data, say) if options.auto_optimize else None
    if decision is None:
        decision = read_decision(start)
    resolve_options(start, decision)
    fetched = dataclasses.replace(start, model=start.model.downloaded(say))
    if fetched.checkpoint is not None:
        check_model(fetched.checkpoint, options, fetched.model)
    return resolve_options(fetched, decision)


def begin(options: TrainOptions) -> Start:
    """InputError for what is wrong without knowing the configuration; loads and writes nothing."""
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


def read_decision(start: Start) -> ChosenConfig | None:
    """That of the profile that was named."""
    path = start.options.profile
    if path is None:
        return None
    profile = read_profile(path, start.model)
    found = profile_differences(profile.recording, start.model, start.presets, None, None)
    voice = source_of(profile, profile.name, is_of_this_model=found.model is None)
    return ChosenConfig(voice, profile)


def resolve_options(start: Start, decision: ChosenConfig | None) -> TrainSettings:
    """The settings of a run of `start.model`, as far as it is here."""
    options, model = start.options, start.model
    choices = Choices(options, start.checkpoint, decision, model.default_max_seq_length)
    config = _config(choices, model)
    check_rows(start.rows, config.batch_size, choices.origin("batch_size"))
    quantization, quantized_by = _quantization(choices, model)
    keys: tuple[str, ...] | None = choices.value("lora_keys")
    profile = decision.profile if decision else None
    differing = None
    if profile is not None:
        differing = profile_differences(profile.recording, model, start.presets, quantization, keys)
    promise, promised_by = measured_baseline(start.checkpoint, config, decision, differing)
    limit = memory_limit(choices, decision, differing)
    chosen = {name: choices.value(name) for name in _AS_CHOSEN}
    kept = {name: choices.value(name) for name in KEPT}
    used = (
        *_used_model(start, quantization, quantized_by),
        *_used_values(choices, config, model),
        Setting(
            "memory limit", gigabytes(limit.bytes) if limit.bytes else "detected", limit.origin
        ),
        Setting("promised peak", _peak(promise), promised_by),
    )
    return TrainSettings(
        model=model,
        source=_source(options, model, quantization, keys),
        config=config,
        memory_limit_bytes=limit.bytes,
        data=start.data,
        adapter_path=options.adapter_path,
        first_step=start.checkpoint.step if start.checkpoint else 0,
        force=options.force,
        promise=promise,
        about=about(model, {**kept, "memory_limit_bytes": limit.bytes}, promise),
        used=used,
        warnings=(*_warnings(start, decision, differing), *limit.warnings),
        **chosen,
    )


def _config(choices: Choices, model: Model) -> LoraConfig:
    layers: int = choices.value("num_layers")
    return LoraConfig(
        batch_size=choices.value("batch_size"),
        rank=choices.value("rank"),
        num_layers=min(layers, model.depth or layers),
        max_seq_length=choices.value("max_seq_length"),
        grad_checkpoint=choices.value("grad_checkpoint"),
    )


def _quantization(choices: Choices, model: Model) -> tuple[Quantization | None, str]:
    """How the base model is quantized, and who says so.

    What a profile says is for weights that can still be quantized; a flag must not contradict.
    """
    is_given = choices.is_given("quantize")
    comes_so = model.foreign_quantization is not None or "quantization" in model.architecture
    if comes_so and not is_given:
        return model.quantization(None), "its weights"
    return model.quantization(choices.value("quantize")), choices.origin("quantize")


def _source(
    options: TrainOptions,
    model: Model,
    quantization: Quantization | None,
    lora_keys: tuple[str, ...] | None,
) -> ModelSource:
    return ModelSource(
        name=model.name,
        architecture=model.architecture,
        folder=str(model.folder) if model.folder else None,
        synthetic=model.weights == "synthetic",
        quantization=quantization,
        lora_keys=lora_keys,
        trust_remote_code=options.trust_remote_code,
    )


def _used_model(
    start: Start, quantization: Quantization | None, quantized_by: str
) -> Iterator[Setting]:
    model, options = start.model, start.options
    yield Setting("model", model.title, "--model")
    yield Setting("weights", model.weights, "default" if model.weights == "local" else "--weights")
    how = quantization or model.foreign_quantization or "not quantized"
    yield Setting("quantization", str(how), quantized_by)
    if options.data is not None:
        yield Setting("data", options.data, "--data")
    elif start.data is not None:
        yield Setting("data", start.data, "checkpoint")
    else:
        yield Setting("data", "made-up rows", "default")


def _used_values(choices: Choices, config: LoraConfig, model: Model) -> Iterator[Setting]:
    def setting(option: str, value: Any, name: str | None = None) -> Setting:
        return Setting(name or option, str(value), choices.origin(option))

    yield setting("batch_size", config.batch_size)
    yield setting("rank", config.rank, "lora_rank")
    layers = setting("num_layers", config.num_layers, "lora_layers")
    if choices.value("num_layers") > config.num_layers:
        all_layers = f"{layers.origin}, cut to the {model.depth} layers of the model"
        layers = dataclasses.replace(layers, origin=all_layers)
    yield layers
    yield setting("max_seq_length", config.max_seq_length)
    yield setting("grad_checkpoint", on_or_off(config.grad_checkpoint))
    keys = choices.value("lora_keys")
    yield setting("lora_keys", _short(keys) if keys else "the usual ones")
    yield setting("learning_rate", f"{choices.value('learning_rate'):g}")
    yield setting("seed", choices.value("seed"))
    yield setting("max_steps", f"{choices.value('max_steps'):,}")
    yield setting("save_every", choices.value("save_every"))
    yield setting("reload_interval", choices.value("reload_interval") or "as memory asks for it")


def _short(lora_keys: Sequence[str]) -> str:
    """Their last components, where these tell them apart."""
    names = [key.rpartition(".")[2] for key in lora_keys]
    return ", ".join(names if len(set(names)) == len(names) else lora_keys)


def _peak(promise: MeasuredBaseline | None) -> str:
    return "none" if promise is None else gigabytes(promise.peak_memory_bytes)


def _warnings(
    start: Start, decision: ChosenConfig | None, differing: ProfileDifferences | None
) -> Iterator[str]:
    if start.model.weights == "synthetic":
        what = "weights and rows" if start.data is None else "weights"
        yield f"a dry run: {what} are made up, and the adapters are of no use"
    if decision is not None:
        yield from decision.warnings
        if decision.profile is not None and differing is not None:
            yield from differing.warnings(decision.profile.name)
