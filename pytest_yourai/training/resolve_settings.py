"""From options to settings: the values of a run, where each comes from, and warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.resolve import Model
from pytest_yourai.models.source import ModelSource
from pytest_yourai.training.auto_optimize import sweep
from pytest_yourai.training.checkpoint import Checkpoint, about, check_model
from pytest_yourai.training.choices import (
    Choices,
    ChosenConfig,
)
from pytest_yourai.training.measured_profile import (
    ProfileDifferences,
    baseline_of,
    profile_differences,
    read_profile,
)
from pytest_yourai.training.options import TrainOptions, TrainValues
from pytest_yourai.training.settings import MeasuredBaseline, Setting, TrainSettings
from pytest_yourai.training.start import Start, begin, check_rows
from pytest_yourai.worker.protocol import TrainingParameters


def train_settings(options: TrainOptions, print_line: Callable[[str], None]) -> TrainSettings:
    """The settings of a run, after the sweep and the download that `options` ask for.

    `print_line` gets lines for people. InputError for options that cannot hold, before either;
    SweepFailedError if a sweep has no answer. KeyboardInterrupt ends the sweep, too.
    """
    start = begin(options)
    chosen = (
        sweep(options, start.model, print_line) if options.auto_optimize else _read_profile(start)
    )
    resolve_options(start, chosen)
    fetched = dataclasses.replace(start, model=start.model.downloaded(print_line))
    if fetched.checkpoint is not None:
        check_model(fetched.checkpoint, options, fetched.model)
    return resolve_options(fetched, chosen)


def _read_profile(start: Start) -> ChosenConfig | None:
    """The configuration of the profile that was named; None without one."""
    path = start.options.profile
    if path is None:
        return None
    profile = read_profile(path, start.model)
    found = profile_differences(profile, start.model, start.presets, None, None)
    return ChosenConfig.of_profile(profile, profile.name, is_of_this_model=found.model is None)


def resolve_options(start: Start, chosen: ChosenConfig | None) -> TrainSettings:
    """The settings of a run of `start.model`, as far as it is here."""
    model = start.model
    choices = Choices(start.options, start.checkpoint, chosen, model.default_max_seq_length)
    values = choices.values
    config = LoraConfig(**_fields(LoraConfig, values))
    if model.depth is not None and model.depth < config.num_layers:
        config = dataclasses.replace(config, num_layers=model.depth)
    check_rows(start.rows, config.batch_size, choices.origin("batch_size"))
    source, quantized_by = _source(start, choices)
    differing = None
    if chosen is not None and chosen.profile is not None:
        differing = profile_differences(
            chosen.profile, model, start.presets, source.quantization, source.lora_keys
        )
    baseline, measured_by = _measured_baseline(start.checkpoint, config, chosen, differing)
    limit = _memory_limit(choices, chosen, differing)
    report_interval = values.memory_report_interval or 1
    return TrainSettings(
        source=source,
        config=config,
        parameters=TrainingParameters(**_fields(TrainingParameters, values)),
        memory_limit_bytes=limit.bytes,
        data=start.data,
        adapter_path=start.options.adapter_path,
        memory_report_interval=report_interval,
        first_step=start.checkpoint.step if start.checkpoint else 0,
        force=start.options.force,
        baseline=baseline,
        about=about(model, baseline, limit.bytes, report_interval),
        used=(
            *_used_model(start, choices, source.quantization, quantized_by),
            *_used_values(choices, config, model),
            *_used_memory(limit, baseline, measured_by),
        ),
        warnings=(*_warnings(start, chosen, differing), *limit.warnings),
    )


def _fields(kind: type[LoraConfig | TrainingParameters], values: TrainValues) -> dict[str, Any]:
    """The values of the options that `kind` has fields for; each of them has a default."""
    return {field.name: getattr(values, field.name) for field in dataclasses.fields(kind)}


def _source(start: Start, choices: Choices) -> tuple[ModelSource, str]:
    """The model as a worker loads it, and where its quantization comes from.

    A profile's quantization applies only to weights that are not quantized yet.
    """
    model, values = start.model, choices.values
    is_stored = model.foreign_quantization is not None or "quantization" in model.architecture
    quantize, origin = values.quantize, choices.origin("quantize")
    if is_stored and not choices.is_given("quantize"):
        quantize, origin = None, "its weights"
    source = model.source(
        model.quantization(quantize),
        values.lora_keys,
        trust_remote_code=start.options.trust_remote_code,
    )
    return source, origin


@dataclass(frozen=True)
class _Limit:
    """The memory budget in bytes, None to detect it; where it comes from, and warnings."""

    bytes: int | None = None
    origin: str = "default"
    warnings: tuple[str, ...] = ()


def _memory_limit(
    choices: Choices, chosen: ChosenConfig | None, differing: ProfileDifferences | None
) -> _Limit:
    """The budget; a profile's only if it was measured here, and unless the machine has less."""
    found = _Limit(choices.values.memory_limit_bytes, choices.origin("memory_limit_bytes"))
    if choices.is_given("memory_limit_bytes"):
        return found
    profile = chosen.profile if chosen else None
    if found.bytes is None and chosen and profile and differing and differing.machine is None:
        found = _Limit(profile.memory_limit_bytes, chosen.origin)
    if found.bytes is None:
        return _Limit()
    # Memory of a CUDA device is its own, and only MLX can tell how much there is.
    here_bytes = read_system_memory().usable_bytes
    if found.bytes <= here_bytes or environment.installed_backend() == "cuda":
        return found
    warning = (
        f"the memory limit of {gigabytes(found.bytes)} ({found.origin}) is more than this "
        f"machine's {gigabytes(here_bytes)}: it is detected anew"
    )
    return _Limit(warnings=(warning,))


def _measured_baseline(
    checkpoint: Checkpoint | None,
    config: LoraConfig,
    chosen: ChosenConfig | None,
    differing: ProfileDifferences | None,
) -> tuple[MeasuredBaseline | None, str]:
    """Measurements of `config`, and where they come from."""
    before = checkpoint.baseline if checkpoint else None
    if checkpoint and before and checkpoint.grad_checkpoint == config.grad_checkpoint:
        return before, "checkpoint"
    profile = chosen.profile if chosen else None
    is_same = differing is not None and not differing.changes_what_runs
    if chosen and profile and is_same and (measured := baseline_of(profile, config)):
        return measured, chosen.origin
    return None, "nothing was measured for this configuration"


def _used_model(
    start: Start, choices: Choices, quantization: Quantization | None, quantized_by: str
) -> Iterator[Setting]:
    model = start.model
    yield Setting("model", model.title, "--model")
    yield Setting("weights", model.weights, "default" if model.weights == "local" else "--weights")
    how = quantization or model.foreign_quantization or "not quantized"
    yield Setting("quantization", str(how), quantized_by)
    yield Setting("data", start.data or "made-up rows", choices.origin("data"))


def _used_values(choices: Choices, config: LoraConfig, model: Model) -> Iterator[Setting]:
    def setting(option: str, value: Any, name: str | None = None) -> Setting:
        return Setting(name or option, str(value), choices.origin(option))

    values = choices.values
    yield setting("batch_size", config.batch_size)
    yield setting("rank", config.rank, "lora_rank")
    layers = setting("num_layers", config.num_layers, "lora_layers")
    if values.num_layers != config.num_layers:
        all_layers = f"{layers.origin}, cut to the {model.depth} layers of the model"
        layers = dataclasses.replace(layers, origin=all_layers)
    yield layers
    yield setting("max_seq_length", config.max_seq_length)
    yield setting("grad_checkpoint", on_or_off(config.grad_checkpoint))
    keys = values.lora_keys
    yield setting("lora_keys", _short(keys) if keys else "the usual ones")
    yield setting("learning_rate", f"{values.learning_rate:g}")
    yield setting("seed", values.seed)
    yield setting("max_steps", f"{values.max_steps:,}")
    yield setting("save_every", values.save_every)
    yield setting("reload_interval", values.reload_interval or "as memory requires it")


def _used_memory(
    limit: _Limit, baseline: MeasuredBaseline | None, measured_by: str
) -> Iterator[Setting]:
    known = gigabytes(limit.bytes) if limit.bytes else "detected"
    yield Setting("memory limit", known, limit.origin)
    peak = "not known" if baseline is None else gigabytes(baseline.peak_memory_bytes)
    yield Setting("expected peak", peak, measured_by)


def _short(lora_keys: Sequence[str]) -> str:
    """Their last components, if these are unique."""
    names = [key.rpartition(".")[2] for key in lora_keys]
    return ", ".join(names if len(set(names)) == len(names) else lora_keys)


def _warnings(
    start: Start, chosen: ChosenConfig | None, differing: ProfileDifferences | None
) -> Iterator[str]:
    if start.model.weights == "synthetic":
        what = "weights and rows" if start.data is None else "weights"
        yield f"a dry run: {what} are made up, and the adapters are of no use"
    if chosen is not None:
        yield from chosen.warnings
        if chosen.profile is not None and differing is not None:
            yield from differing.warnings(chosen.profile.name)
