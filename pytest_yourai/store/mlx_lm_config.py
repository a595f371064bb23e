"""The best configuration as a file for mlx-lm's own training: `mlx_lm.lora --config FILE`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pytest_yourai.core.config import (
    ALL_KEYS,
    SAFETY_MARGIN,
    FineTuneType,
    LoraConfig,
    Quantization,
)
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.recipe import ITERATIONS, MLX_LM_DEFAULTS, Recipe
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.results import TrialResult, pace
from pytest_yourai.core.shell import command_line
from pytest_yourai.core.units import gigabytes
from pytest_yourai.models.conversion import conversion
from pytest_yourai.models.mlx_lm_command import in_folder, is_pattern, output_path
from pytest_yourai.models.model import Model
from pytest_yourai.store.recipe_writing import GivenRecipe, with_answer

LORA_CONFIG_FLAG = "--yourai-lora-config"

_NO_MODEL = "model"

_NO_DATA = "data"


@dataclass(frozen=True, kw_only=True)
class LoraConfigFile:
    """The optimum of a sweep as a configuration file of mlx-lm; `name` is its path from here.

    `weights` is their kind, such as `synthetic 4-bit`. `lora_keys` are paths within a layer, empty
    if a recording has none. `convert_to` is the quantization in which the weights were measured but
    are not stored; `replay` names the recording that was measured before.
    """

    name: str
    model: Model
    weights: str
    optimum: TrialResult
    device: DeviceInfo
    version: str
    memory_limit_bytes: int
    lora_keys: Sequence[str]
    recipe: Recipe
    data: str | None
    convert_to: Quantization | None
    replay: str | None
    trust_remote_code: bool
    given: GivenRecipe | None = None
    """The recipe file of the run, which is written back with the answer in it."""

    def text(self) -> str:
        """The YAML, with the measurements as comments; without secrets.

        It is in ASCII, but for what a given recipe has.
        """
        config = self.optimum.config
        paths = () if config.lora_keys == ALL_KEYS else tuple(self.lora_keys)
        return self._new(config, paths) if self.given is None else self._back(self.given, paths)

    def _back(self, given: GivenRecipe, paths: tuple[str, ...]) -> str:
        """The given recipe, with the optimum in it."""
        about = (
            *_comments(self._about()),
            *_comments(self._about_model()),
            *_comments(self._about_data()),
            *_comments(self._about_keys()),
        )
        entries: dict[str, Any] = {"train": True, **self._validation()}
        if not given.has_model or is_pattern(self._model):
            entries |= self._model_entries()
        if not given.has_data:
            entries |= {"data": self.data or _NO_DATA, "hf_dataset": None}
        if self.recipe.mask_prompt:
            entries["mask_prompt"] = True
        answer = with_answer(given.text, self.optimum.config, paths, entries)
        return "\n".join([*about, "", answer])

    def _new(self, config: LoraConfig, paths: tuple[str, ...]) -> str:
        recipe = self.recipe.as_mlx_lm(config, paths)
        parts = [
            *_comments(self._about()),
            "",
            *_comments(self._about_model()),
            _yaml({**self._model_entries(), "train": True}),
            *_comments(self._about_data()),
            _yaml({"data": self.data or _NO_DATA, **self._validation()}),
            *_comments(self._about_keys()),
            _yaml({**_without_defaults(recipe), "iters": ITERATIONS}),
        ]
        return "\n".join(parts) + "\n"

    @property
    def _model(self) -> str:
        """The model by the name that mlx-lm takes."""
        return self.model.repo or (str(self.model.folder) if self.model.folder else _NO_MODEL)

    def _about(self) -> Iterator[str]:
        found, device = self.optimum, self.device
        # mlx-lm takes trust from the command line alone.
        trust = ["--trust-remote-code"] if self.trust_remote_code else []
        words = ["mlx_lm.lora", "--config", output_path(self.name, self._model), *trust]
        command = command_line(*words, is_ascii=True)
        if is_pattern(self._model):
            command = in_folder(self._model, command, is_ascii=True)
        is_given = self.given is not None and self.given.has_model
        is_named = is_given or self._model != _NO_MODEL
        yield f"Run it with: {command}{'' if is_named else ', once the model is named below'}"
        yield (
            f"Model: {self.model.title} ({self.weights}), "
            f"{found.config}, {found.config.max_seq_length} tokens"
        )
        yield (
            f"Measured on {device.name} ({device.backend}), MLX {device.mlx_version}, "
            f"mlx-lm {device.mlx_lm_version}"
            f", pytest-yourai {self.version}"
        )
        if self.replay is not None:
            yield f"Replayed from {self.replay}: nothing was run on this machine"
        peak = gigabytes(found.peak_memory_bytes or 0)
        need, speed = gigabytes(found.minimum_memory_bytes or 0), found.tokens_per_second or 0
        yield f"It needs {need} and takes {peak}, at {pace(found)}, {speed:,.0f} tokens/s"
        enforced = gigabytes(self.memory_limit_bytes / SAFETY_MARGIN)
        yield (
            f"The budget was {gigabytes(self.memory_limit_bytes)}: MLX was set to use no more than "
            f"{enforced} of it, the budget / {SAFETY_MARGIN}."
        )
        yield f"mlx_lm.lora sets no such limit, so it may take more than {peak}."

    def _about_model(self) -> Iterator[str]:
        if self._model == _NO_MODEL:
            yield f"The weights of {self.model.title} were made up: name a folder or repository"
        elif self.model.weights == "synthetic":
            yield "The weights were made up for measuring: mlx_lm.lora takes the real ones"
        yield from _left_out(self._model)
        if is_pattern(self._model):
            yield "mlx-lm would take its path for a pattern, so that it is named from its folder"
        if self.convert_to is None:
            return
        converted = conversion(
            self._model,
            Path(self._model).name,
            self.convert_to,
            trust_remote_code=self.trust_remote_code,
        )
        yield f"It was measured in {self.convert_to}. Weights that are stored in full precision are"
        yield "trained in full precision by mlx_lm.lora, and take more memory: quantize them first,"
        yield f"  {converted.command}"
        yield f"and name the result here: {_yaml({'model': converted.folder})}"

    def _model_entries(self) -> dict[str, str]:
        """The model; where it is run decides where mlx-lm writes the adapters."""
        if not is_pattern(self._model):
            return {"model": self._model}
        return {"model": ".", "adapter_path": output_path("adapters", self._model)}

    def _about_data(self) -> Iterator[str]:
        yield from _left_out(self.data or "")
        if self.data is None:
            yield "Rows were made up: name a folder with a train.jsonl, or a Hugging Face data set"
        elif self._validation():
            yield "valid.jsonl has fewer rows than a batch, which mlx-lm refuses: no validation"

    def _about_keys(self) -> Iterator[str]:
        is_full = self.optimum.config.fine_tune_type is FineTuneType.FULL
        if not (self.lora_keys or is_full):
            yield "Which modules got adapters is not recorded: without keys mlx-lm takes all linear"

    def _validation(self) -> dict[str, int]:
        """The switch that turns validation off: mlx-lm refuses a set smaller than a batch."""
        if self.data is None:
            return {}
        try:
            with (Path(self.data) / "valid.jsonl").open("rb") as file:
                rows = len(list(itertools.islice(file, self.optimum.config.batch_size)))
        except (OSError, ValueError):  # the latter for a name that no file can have
            return {}
        return {"val_batches": 0} if 0 < rows < self.optimum.config.batch_size else {}


_ALWAYS = (
    "fine_tune_type",
    "num_layers",
    "batch_size",
    "max_seq_length",
    "grad_checkpoint",
    "lora_parameters",
    "learning_rate",
    "optimizer",
    "seed",
)
"""Entries of a recipe that a file always has; the others only where they are not the default."""


def _without_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    usual = MLX_LM_DEFAULTS.as_mlx_lm(LoraConfig(1, 1, 1, 2))
    return {
        name: value for name, value in recipe.items() if name in _ALWAYS or value != usual.get(name)
    }


class _Dumper(yaml.SafeDumper):
    """Quotes text like 1e5, which mlx-lm would read as a number and YAML 1.1 does not."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+.0-9]"), list("-+.0123456789")
)


def _yaml(values: dict[str, Any]) -> str:
    text: str = yaml.dump(
        _without_known_secrets(values),
        Dumper=_Dumper,
        sort_keys=False,
        width=float("inf"),
        default_flow_style=False,
    )
    return text.rstrip("\n")


def _without_known_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """`values` that mlx-lm can use: a name that merely looks like a token stays."""
    without = redactor().without_known
    return {
        key: without(value) if isinstance(value, str) else value for key, value in values.items()
    }


def _left_out(name: str) -> Iterator[str]:
    """A note on a name that is not written as it is."""
    if redactor().without_known(name) != name:
        yield "A secret is left out of this name: write the name as it is"


def _comments(lines: Iterator[str]) -> Iterator[str]:
    """Comments of one line each, in ASCII, without control characters."""
    for line in lines:
        shown = "".join(
            each if each.isascii() and each.isprintable() else ascii(each)[1:-1]
            for each in redactor()(line)
        )
        yield f"# {shown}"
