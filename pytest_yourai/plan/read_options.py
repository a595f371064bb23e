"""From texts of flags, wherever they are given, to the options of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pytest_yourai.core.axes import AXES, GRAD_ACCUMULATION_STEPS, LORA_KEYS
from pytest_yourai.core.config import COMPILE_TIMEOUT_S, Objective, StepPlan, parse_quantize
from pytest_yourai.core.errors import OptionError, RecipeError
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.core.parsing import (
    at_least,
    data_source,
    memory_bytes,
    one_of,
    positive,
)
from pytest_yourai.core.paths import given_path, packaged_models
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.model import NamedModel
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.hosts import parse_hosts
from pytest_yourai.plan.options import CHECK_STEPS, Options
from pytest_yourai.plan.recipe_file import RecipeFile, data_of, read_recipe
from pytest_yourai.store.compare.confirmation import MOST_ROUNDS
from pytest_yourai.store.compare.thresholds import make_thresholds, parse_fail_on

_T = TypeVar("_T")

ALL_PRESETS = "all"
"""The word that stands for the packaged list, and all of it in a walk."""

_MOST_SECONDS = 1e8

_MOST_MINUTES = 10_000

_MOST_GBIT = 1e6

_SWITCHES = ("benchmark", "optimize", "quick", "force", "resume", "trust-remote-code")
"""Flags without a value, which are fields of the options by their own names."""


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """The texts of one flag, none where it is not given.

    `where` is what messages call it, `folder` the one that its paths are relative to.
    """

    texts: Sequence[str]
    where: str
    folder: Path


class GivenFlags(Protocol):
    """Where flags are given: a command line with an ini file, or the arguments of a function."""

    @property
    def names(self) -> Collection[str]:
        """Names of the flags that are given for this run, and by no file."""

    @property
    def folder(self) -> Path:
        """The folder that the run was started in."""

    @property
    def timeout_s(self) -> float:
        """The limit of an item, in seconds, unless the flag is given."""

    def of(self, flag: Flag) -> GivenTexts:
        """The texts of `flag`."""


def read_flags(given: GivenFlags) -> Options:
    """The options of a run; OptionError, naming the flag, for an invalid value."""
    read, started_in = _Reader(given), given.folder
    path = read.from_folder("config", given_path)
    recipe_file = None if path is None else read_recipe(path)
    models = _models(read, recipe_file)
    presets = read.from_folder("models", _presets)
    return Options(
        given=frozenset(given.names),
        models=models,
        presets=presets or packaged_models(),
        walks_all=presets == packaged_models(),
        matrix=read.from_folder("matrix", given_path),
        memory_limit_bytes=read.value("max-memory", memory_bytes),
        output=_output(read, started_in, len(models)),
        log=read.from_folder("log", given_path) or started_in / "benchmark_log.jsonl",
        lora_config=read.from_folder("lora-config", given_path),
        report=read.from_folder("report", given_path),
        markdown=read.from_folder("markdown", given_path),
        steps=_step_plan(read, StepPlan().measured_steps),
        check_steps=_step_plan(read, CHECK_STEPS),
        **_trained(read, recipe_file),
        bad_rows=read.value("bad-rows", one_of("refuse", "skip")) or "refuse",
        weights=read.value("weights", one_of("auto", "local", "hub", "synthetic")) or "auto",
        quantize=read.value("quantize", parse_quantize),
        timeout_s=read.value("timeout", positive(_MOST_SECONDS)) or given.timeout_s,
        compile_timeout_s=read.value("compile-timeout", positive(_MOST_SECONDS))
        or COMPILE_TIMEOUT_S,
        objective=Objective(read.value("objective", one_of(*Objective)) or Objective.SCORE),
        search=read.value("search", one_of("fast", "exhaustive")) or "exhaustive",
        soak_s=read.value("soak", lambda text: positive(_MOST_MINUTES)(text) * 60),
        replay=read.from_folder("replay", given_path),
        compare=read.from_folder("compare", given_path),
        thresholds=make_thresholds(read.several("fail-on", lambda text, _: parse_fail_on(text))),
        confirm=read.value("confirm", at_least(0, MOST_ROUNDS)),
        isolation=read.value("isolation", one_of("model", "trial")) or "model",
        hosts=_hosts(read),
        link_gbit=read.value("link-gbit", positive(_MOST_GBIT)),
        profiles=read.several("profile", given_path),
        **_switches(read),
    )


def _switches(read: _Reader) -> dict[str, Any]:
    return {name.replace("-", "_"): read.switch(name) or False for name in _SWITCHES}


def _trained(read: _Reader, recipe_file: RecipeFile | None) -> dict[str, Any]:
    """The options that say what is trained, how, and on what."""
    data, recipe_data = read.from_folder("data", data_source), None
    if recipe_file is not None:
        recipe_data = data_of(recipe_file, "--yourai-data")
    return {
        "axes": _axes(read),
        "effective_batch_size": _effective_batch_size(read, recipe_file),
        "recipe_file": recipe_file,
        "recipe": _recipe(read, recipe_file),
        "data": data or recipe_data,
        "has_data_of_recipe": data is None and recipe_data is not None,
    }


def _models(read: _Reader, recipe_file: RecipeFile | None) -> tuple[NamedModel, ...]:
    """Those that flags name; else, where one is to be measured, that of the recipe."""

    def named(text: str, folder: Path) -> NamedModel:
        return NamedModel(text, given_path(text, folder))

    models = read.several("model", named)
    is_of_others = read.switch("benchmark") or read.from_folder("replay", given_path)
    if models or is_of_others or recipe_file is None or recipe_file.model is None:
        return models
    try:
        # mlx-lm takes paths relative to the folder where it was started.
        return (named(recipe_file.model, Path.cwd()),)
    except ValueError as problem:
        raise RecipeError(
            f"{recipe_file.path}: model: {recipe_file.model!r} is not valid: {problem}, or give "
            "--yourai-model"
        ) from None


def _hosts(read: _Reader) -> HostGroup | None:
    """The ranks, with the backend of the flag rather than the hostfile's."""
    hosts = read.from_folder("hosts", parse_hosts)
    backend = read.value("hosts-backend", one_of(*DistributedBackend))
    if hosts is None or backend is None:
        return hosts
    return dataclasses.replace(hosts, backend=DistributedBackend(backend))


def _presets(text: str, folder: Path) -> Path:
    """The packaged list for the word `all`, else a file."""
    return packaged_models() if text == ALL_PRESETS else given_path(text, folder)


def read_verification_file(given: GivenFlags) -> Path | None:
    """The file that the flag names, as an output in an ini file is that of sweeps.

    OptionError for any other flag: what is verified is always the same.
    """
    for flag in FLAGS:
        if flag.name in set(given.names) - {"verify", "output"}:
            raise OptionError(
                f"{flag.option}: --yourai-verify brings what it measures, and takes "
                "--yourai-output alone: leave one of the two out"
            )
    return _Reader(given).from_folder("output", given_path) if "output" in given.names else None


def _output(read: _Reader, started_in: Path, models: int) -> Path:
    is_walk = models > 1 or read.switch("benchmark")
    name = "benchmark_results" if is_walk else "optimal_config"
    return read.from_folder("output", given_path) or started_in / f"{name}.json"


def _step_plan(read: _Reader, default_measured_steps: int) -> StepPlan:
    measured_steps = read.value("steps", at_least(1)) or default_measured_steps
    warmup_steps = read.value("warmup", at_least(2)) or StepPlan().warmup_steps
    return StepPlan.of(measured_steps, warmup_steps)


class _Reader:
    def __init__(self, given: GivenFlags) -> None:
        self._given = given

    def value(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """The parsed flag, else the parsed ini key, else None."""
        return self.from_folder(name, lambda text, _: parse(text))

    def switch(self, name: str) -> bool | None:
        return self.value(name, _truth)

    def from_folder(self, name: str, parse: Callable[[str, Path], _T]) -> _T | None:
        """Like `value`; `parse` also gets the folder that paths are relative to.

        It is the one where pytest was started, and for an ini key that of the ini file.
        """
        return next(iter(self.several(name, parse)), None)

    def several(self, name: str, parse: Callable[[str, Path], _T]) -> tuple[_T, ...]:
        """Like `from_folder`, for a flag that may be repeated."""
        given = self._given.of(next(flag for flag in FLAGS if flag.name == name))
        parsed = []
        for text in given.texts:
            try:
                parsed.append(parse(text.strip(), given.folder))
            except ValueError as problem:
                raise OptionError(f"{given.where}: {text!r} is not valid: {problem}") from None
        return tuple(parsed)


def _axes(read: _Reader) -> dict[str, tuple[Any, ...]]:
    """The values of the axes that flags or ini keys name, ascending."""
    found: dict[str, tuple[Any, ...]] = {}
    for axis in AXES:
        if axis.metavar is None:
            switch = read.switch(axis.flag)
            values = None if switch is None else (switch,)
        elif axis is LORA_KEYS:
            keys = read.value(axis.flag, axis.parse)
            values = None if keys is None else (keys,)
        else:
            values = read.value(axis.flag, _several(axis.parse))
        if values is not None:
            found[axis.name] = values
    return found


def _several(parse: Callable[[str], _T]) -> Callable[[str], tuple[_T, ...]]:
    """A parser of values between commas, without duplicates, ascending."""

    def parse_all(text: str) -> tuple[_T, ...]:
        try:
            return tuple(sorted({parse(part.strip()) for part in text.split(",")}))  # type: ignore[type-var]
        except ValueError as problem:
            raise ValueError(f"between commas, {problem}") from None

    return parse_all


def _effective_batch_size(read: _Reader, file: RecipeFile | None) -> int | None:
    """The flag's, else the recipe's where no flag names the accumulation itself."""
    given = read.value("effective-batch-size", at_least(1))
    has_steps = read.value(GRAD_ACCUMULATION_STEPS.flag, str) is not None
    if given is not None and has_steps:
        raise OptionError(
            "--yourai-effective-batch-size: --yourai-grad-accumulation-steps follow from it: leave "
            "one of the two out"
        )
    return given if given is not None or file is None or has_steps else file.effective_batch_size


def _recipe(read: _Reader, file: RecipeFile | None) -> Recipe:
    recipe = Recipe() if file is None else file.recipe
    if read.from_folder("data", data_source) is not None:
        recipe = dataclasses.replace(recipe, hf_dataset=())
    masks = read.switch("mask-prompt")
    return recipe if masks is None else dataclasses.replace(recipe, mask_prompt=masks)


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("it must be true or false")
