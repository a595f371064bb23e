"""From options to settings: the values of a run, where each comes from, and warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from pytest_yourai.core.axes import (
    FINE_TUNE_TYPE,
    GRAD_ACCUMULATION_STEPS,
    LORA_KEYS,
)
from pytest_yourai.core.config import (
    ALL_LAYERS,
    COMPILE_TIMEOUT_S,
    MLX_LM_MAX_SEQ_LENGTH,
    LoraConfig,
)
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS, Recipe
from pytest_yourai.models.identity import model_identity
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.trainable import check_trainable
from pytest_yourai.plan.matrix import accumulated
from pytest_yourai.training.auto_optimize import sweep
from pytest_yourai.training.checkpoint import MeasuredBaseline, check_model
from pytest_yourai.training.measured_profile import (
    WHAT_RUNS,
    ChosenConfig,
    baseline_of,
    has_other_modules,
    is_of,
    profile_differences,
    read_profile,
)
from pytest_yourai.training.memory_limit import MemoryLimit, choose_limit
from pytest_yourai.training.option_values import DEFAULTS, VALUE_OPTIONS, TrainValues
from pytest_yourai.training.options import TrainOptions
from pytest_yourai.training.recipe_values import recipe_values
from pytest_yourai.training.settings import Setting, TrainSettings
from pytest_yourai.training.start import Start, begin, check_rows, check_shares
from pytest_yourai.training.used_settings import DEFAULT, UsedSettings, run_warnings, used_memory
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
    is_of_this_model = is_of(profile, start.model, start.presets)
    return ChosenConfig.of_profile(
        profile, start.options, start.model, profile.name, is_of_this_model=is_of_this_model
    )


def resolve_options(start: Start, chosen: ChosenConfig | None) -> TrainSettings:
    """The settings of a run of `start.model`, as far as it is here."""
    return _Resolver(start, chosen).settings()


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
            (DEFAULT, defaults),
        ]
        self._values = TrainValues(**{name: self._find(name)[0] for name in VALUE_OPTIONS})
        self._config = self._lora_config()
        check_rows(start.rows, self._config.batch_size, self._origin("batch_size"))
        self._group = start.options.group
        check_shares(self._group, self._config.batch_size, self._origin("batch_size"))
        self._source, self._quantized_by = self._model_source()
        self._differences = (
            profile_differences(
                chosen.profile,
                self._model,
                start.presets,
                self._source.quantization,
                self._config.lora_keys,
                self._group.world_size if self._group else 1,
            )
            if chosen is not None and chosen.profile is not None
            else {}
        )

    def settings(self) -> TrainSettings:
        """All values of the run."""
        start, values = self._start, self._values
        self._check_updates()
        limit = choose_limit(
            MemoryLimit(*self._find("memory_limit_bytes")),
            self._chosen,
            is_flag=self._is_given("memory_limit_bytes"),
            is_measured_here="machine" not in self._differences,
        )
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
            used=(*self._used(), *used_memory(limit.bytes, limit.origin, baseline, measured_by)),
            warnings=(*self._warnings(), *limit.warnings),
            recipe_file=str(start.recipe_file.path) if start.recipe_file else None,
            hosts=self._group,
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
        if self._origin(GRAD_ACCUMULATION_STEPS.name) not in (file.path.name, DEFAULT):
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
        return None, DEFAULT

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
            requires_lora_keys=self._are_keys_asked_for(),
        )
        asked_by = self._origin(FINE_TUNE_TYPE.name)
        if asked_by != f"--{FINE_TUNE_TYPE.flag}":
            asked_by += f": {FINE_TUNE_TYPE.key}"
        check_trainable([self._config.fine_tune_type], source, asked_by, "--quantize")
        return source, origin

    def _are_keys_asked_for(self) -> bool:
        """False where they are those of a sweep whose model got others instead of a named set."""
        if self._is_given(LORA_KEYS.name) or self._chosen is None or not self._chosen.profile:
            return True
        return not has_other_modules(self._chosen.profile, self._config.lora_keys)

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
        found = UsedSettings(
            self._start,
            self._values,
            self._config,
            self._recipe(),
            self._source,
            self._quantized_by,
            self._origin,
            self._picked(),
        )
        yield from found.settings()
        yield from found.recipe_settings()

    def _picked(self) -> Setting | None:
        chosen = self._chosen
        if chosen is None or chosen.which is None:
            return None
        origin = "--pick" if self._start.options.pick is not None else chosen.origin
        return Setting("pick", chosen.which, origin)

    def _warnings(self) -> Iterator[str]:
        yield from run_warnings(self._start, self._values, self._config)
        if self._chosen is not None:
            yield from self._chosen.warnings
            if self._chosen.profile is not None:
                name = self._chosen.profile.name
                yield from (f"{name} was measured {each}" for each in self._differences.values())


def _fields(kind: type[LoraConfig | TrainingParameters], values: TrainValues) -> dict[str, Any]:
    """The values of the options that `kind` has fields for; each of them has a default."""
    return {field.name: getattr(values, field.name) for field in dataclasses.fields(kind)}
