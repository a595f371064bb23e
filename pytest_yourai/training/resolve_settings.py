"""From options to settings: the values of a run, where each comes from, and warnings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.axes import (
    DROPOUT,
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    LORA_KEYS,
    OPTIMIZER,
)
from pytest_yourai.core.config import (
    ALL_LAYERS,
    COMPILE_TIMEOUT_S,
    MLX_LM_MAX_SEQ_LENGTH,
    LoraConfig,
)
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.labels import on_or_off
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.core.units import gigabytes
from pytest_yourai.machine import environment
from pytest_yourai.machine.system_memory import read_system_memory
from pytest_yourai.models.identity import model_identity
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.trainable import check_trainable
from pytest_yourai.plan.matrix import accumulated
from pytest_yourai.plan.recipe_file import RecipeFile
from pytest_yourai.training.auto_optimize import sweep
from pytest_yourai.training.checkpoint import MeasuredBaseline, check_model
from pytest_yourai.training.measured_profile import (
    WHAT_RUNS,
    ChosenConfig,
    baseline_of,
    is_of,
    profile_differences,
    read_profile,
)
from pytest_yourai.training.options import DEFAULTS, VALUE_OPTIONS, TrainOptions, TrainValues
from pytest_yourai.training.settings import Setting, TrainSettings
from pytest_yourai.training.start import Start, begin, check_rows
from pytest_yourai.worker.protocol import TrainingParameters

_DEFAULT = "default"


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
    is_of_this_model = is_of(profile, start.model, start.presets)
    return ChosenConfig.of_profile(profile, profile.name, is_of_this_model=is_of_this_model)


def resolve_options(start: Start, chosen: ChosenConfig | None) -> TrainSettings:
    """The settings of a run of `start.model`, as far as it is here."""
    return _Resolver(start, chosen).settings()


@dataclass(frozen=True)
class _Limit:
    """The memory budget in bytes, None to detect it; where it comes from, and warnings."""

    bytes: int | None = None
    origin: str = _DEFAULT
    warnings: tuple[str, ...] = ()


class _Resolver:
    """The options as a flag, the checkpoint, the chosen configuration or the defaults decide.

    The first of these that has a value counts; `_values` has None where none has.
    """

    def __init__(self, start: Start, chosen: ChosenConfig | None) -> None:
        self._start = start
        self._model = start.model
        self._chosen = chosen
        file = start.recipe_file
        length = MLX_LM_MAX_SEQ_LENGTH if file else self._model.default_max_seq_length
        defaults = dataclasses.replace(DEFAULTS, max_seq_length=length)
        self._sources = [
            *([("checkpoint", start.checkpoint)] if start.checkpoint else []),
            *([(chosen.origin, chosen.values)] if chosen else []),
            *([(file.path.name, recipe_values(file))] if file else []),
            (_DEFAULT, defaults),
        ]
        self._values = TrainValues(**{name: self._find(name)[0] for name in VALUE_OPTIONS})
        self._config = self._lora_config()
        check_rows(start.rows, self._config.batch_size, self._origin("batch_size"))
        self._source, self._quantized_by = self._model_source()
        self._differences = (
            profile_differences(
                chosen.profile,
                self._model,
                start.presets,
                self._source.quantization,
                self._config.lora_keys,
            )
            if chosen is not None and chosen.profile is not None
            else {}
        )

    def settings(self) -> TrainSettings:
        """All values of the run."""
        start, values = self._start, self._values
        self._check_updates()
        limit = self._memory_limit()
        baseline, measured_by = self._measured_baseline()
        report_interval = values.memory_report_interval or 1
        return TrainSettings(
            source=self._source,
            config=self._config,
            recipe=self._recipe(),
            parameters=TrainingParameters(**_fields(TrainingParameters, values)),
            memory_limit_bytes=limit.bytes,
            data=start.data,
            adapter_path=start.options.adapter_path,
            memory_report_interval=report_interval,
            first_step=start.checkpoint.step if start.checkpoint else 0,
            force=start.options.force,
            compile_timeout_s=start.options.compile_timeout_s or COMPILE_TIMEOUT_S,
            baseline=baseline,
            about={
                "weights": self._model.weights,
                "model_identity": model_identity(self._model),
                "promise": None if baseline is None else dataclasses.asdict(baseline),
                "memory_limit_bytes": limit.bytes,
                "memory_report_interval": report_interval,
            },
            used=(*self._used(), *self._used_recipe(), *_used_memory(limit, baseline, measured_by)),
            warnings=(*self._warnings(), *limit.warnings),
            recipe_file=str(start.recipe_file.path) if start.recipe_file else None,
        )

    def _lora_config(self) -> LoraConfig:
        """The configuration, with no more layers than the model has."""
        found, depth = _fields(LoraConfig, self._values), self._model.depth
        if found["num_layers"] == ALL_LAYERS and depth is None:
            raise OptionError(
                "--lora-layers: config.json does not tell how many layers the model has: write "
                "their number instead of all"
            )
        if depth is not None and not 0 < found["num_layers"] <= depth:
            found["num_layers"] = depth
        return accumulated(LoraConfig(**found), self._effective_batch_size()).canonical()

    def _effective_batch_size(self) -> int | None:
        """The rows of an update, where the recipe alone says how many; None otherwise.

        OptionError if the batch size does not divide them.
        """
        file, rows = self._start.recipe_file, self._values.batch_size or 1
        if file is None or file.effective_batch_size is None:
            return None
        if self._origin(GRAD_ACCUMULATION_STEPS.name) not in (file.path.name, _DEFAULT):
            return None
        if file.effective_batch_size % rows:
            raise OptionError(
                f"{file.path}: effective_batch_size: {file.effective_batch_size} rows are not a "
                f"multiple of the batch size of {rows} ({self._origin('batch_size')}): give a "
                "--batch-size that divides them, or --grad-accumulation-steps"
            )
        return file.effective_batch_size

    def _check_updates(self) -> None:
        """OptionError if training would end before the first update of the weights."""
        most, accumulated = self._values.max_steps or 1, self._config.grad_accumulation_steps
        if most < accumulated:
            raise OptionError(
                f"--max-steps: {most:,} steps ({self._origin('max_steps')}) change nothing, as "
                f"gradients accumulate over {accumulated:,} "
                f"({self._origin('grad_accumulation_steps')}): raise it, or lower "
                "--grad-accumulation-steps"
            )

    def _recipe(self) -> Recipe:
        """The recipe of the checkpoint, else of the file, and the values that flags decide."""
        before, file = self._start.checkpoint, self._start.recipe_file
        base = (before and before.recipe) or (file.recipe if file else MLX_LM_DEFAULTS)
        names = {each.name for each in dataclasses.fields(Recipe)} & VALUE_OPTIONS.keys()
        decided = {name: getattr(self._values, name) for name in names}
        if self._is_given("data"):
            decided["hf_dataset"] = ()
        return dataclasses.replace(base, **decided)

    def _find(self, name: str) -> tuple[Any, str]:
        """The value, and the flag or the source that decides."""
        asked = getattr(self._start.options, name)
        if asked is not None:
            option = VALUE_OPTIONS[name]
            return asked, option.negation if asked is False else option.flag
        for origin, values in self._sources:
            if (value := getattr(values, name)) is not None:
                return value, origin
        return None, _DEFAULT

    def _origin(self, name: str) -> str:
        return self._find(name)[1]

    def _is_given(self, name: str) -> bool:
        """True if a flag decides."""
        return getattr(self._start.options, name) is not None

    def _model_source(self) -> tuple[ModelSource, str]:
        """The model as a worker loads it, and where its quantization comes from.

        A profile's quantization applies only to weights that are not quantized yet.
        """
        model = self._model
        is_stored = model.foreign_quantization is not None or "quantization" in model.architecture
        quantize, origin = self._find("quantize")
        if is_stored and not self._is_given("quantize"):
            quantize, origin = None, "its weights"
        source = model.source(
            model.quantization(quantize),
            (self._config.lora_keys,),
            trust_remote_code=self._start.options.trust_remote_code,
        )
        asked_by = self._origin(FINE_TUNE_TYPE.name)
        if asked_by != f"--{FINE_TUNE_TYPE.flag}":
            asked_by += f": {FINE_TUNE_TYPE.key}"
        check_trainable([self._config.fine_tune_type], source, asked_by, "--quantize")
        return source, origin

    def _memory_limit(self) -> _Limit:
        """The budget; a profile's only if it was measured here, and unless the machine has less."""
        found = _Limit(*self._find("memory_limit_bytes"))
        if self._is_given("memory_limit_bytes"):
            return found
        chosen = self._chosen
        if found.bytes is None and chosen and chosen.profile and "machine" not in self._differences:
            found = _Limit(chosen.profile.memory_limit_bytes, chosen.origin)
        if found.bytes is None:
            return _Limit()
        # Memory of a CUDA device is its own, and only MLX knows its size.
        here_bytes = read_system_memory().usable_bytes
        if found.bytes <= here_bytes or environment.installed_backend() == "cuda":
            return found
        warning = (
            f"the memory limit of {gigabytes(found.bytes)} ({found.origin}) is more than this "
            f"machine's {gigabytes(here_bytes)}: it is detected anew"
        )
        return _Limit(warnings=(warning,))

    def _measured_baseline(self) -> tuple[MeasuredBaseline | None, str]:
        """Measurements of the configuration, and where they come from."""
        before, chosen = self._start.checkpoint, self._chosen
        if before and before.baseline and before.grad_checkpoint == self._config.grad_checkpoint:
            return before.baseline, "checkpoint"
        is_same = not self._differences.keys() & WHAT_RUNS
        if chosen and chosen.profile and is_same:
            measured = baseline_of(chosen.profile.measured.get(self._config))
            if measured is not None:
                return measured, chosen.origin
        return None, "nothing was measured for this configuration"

    def _used(self) -> Iterator[Setting]:
        def setting(option: str, value: Any, name: str | None = None) -> Setting:
            return Setting(name or option, str(value), self._origin(option))

        model, values, config = self._model, self._values, self._config
        yield Setting("model", model.title, self._model_origin())
        from_weights = _DEFAULT if model.weights == "local" else "--weights"
        yield Setting("weights", model.weights, from_weights)
        how = self._source.quantization or model.foreign_quantization or "not quantized"
        yield Setting("quantization", str(how), self._quantized_by)
        yield setting("data", self._start.data or "made-up rows")
        yield setting("batch_size", config.batch_size)
        if config.rank:
            yield setting("rank", config.rank, "lora_rank")
        layers = setting("num_layers", config.num_layers, "lora_layers")
        if values.num_layers != config.num_layers:
            all_layers = f"{layers.origin}, cut to the {model.depth} layers of the model"
            layers = dataclasses.replace(layers, origin=all_layers)
        yield layers
        yield setting("max_seq_length", config.max_seq_length)
        yield setting("grad_checkpoint", on_or_off(config.grad_checkpoint))
        for axis in (FINE_TUNE_TYPE, OPTIMIZER, LORA_KEYS, DROPOUT, GRAD_ACCUMULATION_STEPS):
            yield setting(axis.name, axis.text(config))
        yield setting("learning_rate", f"{values.learning_rate:g}")
        yield setting("seed", values.seed)
        yield setting("max_steps", f"{values.max_steps:,}")
        yield setting("save_every", values.save_every)
        yield setting("keep", values.keep)
        yield setting("patience", values.patience or "none")
        yield setting("max_grad_norm", values.max_grad_norm or "no clipping")
        yield setting("max_skipped_batches", values.max_skipped_batches)
        yield setting("reload_interval", values.reload_interval or "as memory requires it")

    def _used_recipe(self) -> Iterator[Setting]:
        """What else the recipe says, where it is not mlx-lm's default."""
        recipe, file = self._recipe(), self._start.recipe_file
        origin = file.path.name if file is not None else _DEFAULT
        if self._start.checkpoint is not None and self._start.checkpoint.recipe is not None:
            origin = "checkpoint"
        for each in dataclasses.fields(Recipe):
            value = getattr(recipe, each.name)
            if each.name in ("learning_rate", "seed", "hf_dataset"):
                continue  # shown as such, and as data
            if value != getattr(MLX_LM_DEFAULTS, each.name):
                decided = each.name in VALUE_OPTIONS
                shown = on_or_off(value) if isinstance(value, bool) else str(value)
                name = "lora_scale" if each.name == "scale" else each.name
                yield Setting(name, shown, self._origin(each.name) if decided else origin)

    def _model_origin(self) -> str:
        """The recipe where it names the same, else the flag."""
        file = self._start.recipe_file
        is_same = file is not None and self._start.options.model == file.model
        return file.path.name if file is not None and is_same else "--model"

    def _warnings(self) -> Iterator[str]:
        if self._model.weights == "synthetic":
            what = "weights and rows" if self._start.data is None else "weights"
            yield f"a dry run: {what} are made up, and the adapters are of no use"
        most, accumulated = self._values.max_steps or 1, self._config.grad_accumulation_steps
        if left := most % accumulated:
            yield (
                f"of {most:,} steps the last {left:,} change nothing, as gradients accumulate over "
                f"{accumulated:,}: a --max-steps of {most - left:,} trains the same"
            )
        yield from environment.notes(os.environ)
        file = self._start.recipe_file
        if file is not None and file.training.get("test"):
            yield (
                f"{file.path.name}: test: nothing is tested here: run mlx_lm.lora --test with the "
                "adapters"
            )
        if self._chosen is not None:
            yield from self._chosen.warnings
            if self._chosen.profile is not None:
                name = self._chosen.profile.name
                yield from (f"{name} was measured {each}" for each in self._differences.values())


_MLX_LM_NAMES = {"iters": "max_steps", "steps_per_report": "memory_report_interval"}
"""Keys of a recipe that training calls otherwise."""


def recipe_values(file: RecipeFile) -> TrainValues:
    """The values that a recipe file decides; what it leaves at a default is not decided."""
    named = {_MLX_LM_NAMES.get(name, name): value for name, value in file.training.items()}
    found = {name: value for name, value in named.items() if name in VALUE_OPTIONS}
    recipe = {
        each.name: getattr(file.recipe, each.name)
        for each in dataclasses.fields(Recipe)
        if each.name in VALUE_OPTIONS
        and getattr(file.recipe, each.name) != getattr(MLX_LM_DEFAULTS, each.name)
    }
    data = {"data": file.recipe.data or file.data}
    axes = {name: values[0] for name, values in file.axes.items()}
    return TrainValues(**(found | recipe | data | axes))


def _fields(kind: type[LoraConfig | TrainingParameters], values: TrainValues) -> dict[str, Any]:
    """The values of the options that `kind` has fields for; each of them has a default."""
    return {field.name: getattr(values, field.name) for field in dataclasses.fields(kind)}


def _used_memory(
    limit: _Limit, baseline: MeasuredBaseline | None, measured_by: str
) -> Iterator[Setting]:
    known = gigabytes(limit.bytes) if limit.bytes else "detected"
    yield Setting("memory limit", known, limit.origin)
    peak = "not known" if baseline is None else gigabytes(baseline.peak_memory_bytes)
    yield Setting("expected peak", peak, measured_by)
