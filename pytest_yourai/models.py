"""From a name to a model: its architecture, where its weights come from, its quantization.

A name is a preset of models.yaml, or a folder with a config.json. Weights are read from a folder
as mlx-lm loads it, or made up (synthetic) in the shapes of the architecture.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from pytest_yourai.architecture import DEPTH_KEYS, read_architecture_shapes
from pytest_yourai.config import Quantization, QuantizeChoice, parse_quantize
from pytest_yourai.errors import ModelError
from pytest_yourai.redaction import redactor
from pytest_yourai.units import parameter_count
from pytest_yourai.yaml_file import read_yaml, validate

Weights = Literal["local", "synthetic"]
WeightsChoice = Literal["auto", "local", "synthetic"]

PRESET_QUANTIZATION = Quantization(bits=4)
"""Of synthetic preset weights where nobody chose: the way most people fine-tune them."""

DEFAULT_MAX_SEQ_LENGTH = 512
"""Of a model without a default of its own, in tokens."""


class _Defaults(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    quantize: int | str | None = None
    max_seq_length: int | None = pydantic.Field(default=None, ge=2)
    quick_matrix: str | None = None

    @pydantic.field_validator("quantize")
    @classmethod
    def _is_quantization(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            parse_quantize(str(value))
        return value


class _Preset(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    repo: str | None = None
    path: str | None = None
    params: str | None = None
    architecture: dict[str, Any] | str | None = None
    defaults: _Defaults = _Defaults()
    walk: bool = True

    @pydantic.field_validator("params")
    @classmethod
    def _is_parameter_count(cls, value: str | None) -> str | None:
        if value is not None:
            parameter_count(value)
        return value


@dataclass(frozen=True)
class Preset:
    """One entry of a models file."""

    name: str
    title: str
    params: str | None
    folder: Path | None
    architecture: Mapping[str, Any] | None
    quantize: QuantizeChoice
    max_seq_length: int | None
    quick_matrix: str | None
    in_walk: bool = True
    """Whether a benchmark of all models tries it."""


@dataclass(frozen=True)
class NamedModel:
    """A model as it was named; `folder` is the one that this means if it is no preset's name."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Model:
    """A model that can be measured: `name` is fit for test ids, `title` for people."""

    name: str
    title: str
    architecture: Mapping[str, Any]
    weights: Weights
    folder: Path | None
    preset: Preset | None

    @property
    def depth(self) -> int | None:
        """Number of hidden layers, where the architecture says it in a known key."""
        return architecture_depth(self.architecture)

    @property
    def parameters(self) -> float | None:
        """As the model is called by, else by its shapes; None where neither tells."""
        if self.preset is not None and self.preset.params is not None:
            return parameter_count(self.preset.params)
        try:
            return float(read_architecture_shapes(self.architecture).parameters)
        except ModelError:
            return None

    @property
    def usual_max_seq_length(self) -> int:
        """Tokens of a row where nobody chose."""
        return usual_max_seq_length(self.preset)

    @property
    def foreign_quantization(self) -> str | None:
        """The method of weights that are quantized in another way than mlx-lm's own."""
        if "quantization" in self.architecture:
            return None
        foreign = self.architecture.get("quantization_config")
        return str(foreign.get("quant_method")) if isinstance(foreign, Mapping) else None

    def quantization(self, choice: QuantizeChoice) -> Quantization | None:
        """How mlx-lm quantizes the base model; ModelError where `choice` contradicts its weights.

        None for full precision, and for weights in a foreign quantization, which are taken as they
        are.
        """
        stored = stored_quantization(self.architecture)
        if self.foreign_quantization is not None and self.weights == "synthetic":
            raise ModelError(
                f"{self.title} is quantized with {self.foreign_quantization}, which cannot be made "
                "up: put its weights into the folder"
            )
        if stored is not None or self.foreign_quantization is not None:
            if choice is not None and not _agree(choice, stored):
                how = stored or self.foreign_quantization
                raise ModelError(
                    f"the weights of {self.title} are quantized already ({how}): leave "
                    "--yourai-quantize out, or name a folder with full-precision weights"
                )
            return stored
        if choice is None and self.preset is not None:
            choice = self.preset.quantize
            if choice is None and self.weights == "synthetic":
                choice = PRESET_QUANTIZATION
        return choice if isinstance(choice, Quantization) else None


def usual_max_seq_length(preset: Preset | None) -> int:
    """In tokens, where nobody chose."""
    return (preset and preset.max_seq_length) or DEFAULT_MAX_SEQ_LENGTH


def _agree(choice: QuantizeChoice, stored: Quantization | None) -> bool:
    """Whether the bits that were asked for are those of the stored affine quantization."""
    if stored is None or not isinstance(choice, Quantization):
        return False
    return stored.mode == choice.mode and stored.bits == choice.bits


def stored_quantization(architecture: Mapping[str, Any]) -> Quantization | None:
    """What a config.json says of its weights' quantization, in mlx-lm's own key."""
    raw = architecture.get("quantization")
    if not isinstance(raw, Mapping):
        return None
    try:
        return Quantization(int(raw["bits"]), int(raw["group_size"]), raw.get("mode", "affine"))
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelError(
            f"config.json: quantization: it is not one of mlx-lm's: {problem}"
        ) from None


def architecture_depth(architecture: Mapping[str, Any]) -> int | None:
    for mapping in (architecture, architecture.get("text_config")):
        if isinstance(mapping, Mapping):
            for key in DEPTH_KEYS:
                if isinstance(mapping.get(key), int):
                    return int(mapping[key])
    return None


def read_presets(path: Path) -> dict[str, Preset]:
    """The presets of a models file, in its order; ModelError where it is none."""
    file = read_yaml(path, ModelError, "a models")
    if not isinstance(file.value, dict) or not file.value:
        raise ModelError(f"{path}:1: this is no list of models: it must map names to models")
    presets = {}
    for key, value in file.value.items():
        raw = validate(file, _Preset, value, ModelError, at=(str(key),))
        presets[str(key)] = _preset(str(key), raw, path.parent)
    return presets


def _preset(name: str, raw: _Preset, base: Path) -> Preset:
    architecture = raw.architecture
    if isinstance(architecture, str):
        architecture = read_architecture(base / architecture)
    source = raw.repo or raw.path
    return Preset(
        name=name,
        title=source.rstrip("/").rpartition("/")[2] if source else name,
        params=raw.params,
        folder=base / raw.path if raw.path else None,
        architecture=architecture,
        quantize=None
        if raw.defaults.quantize is None
        else parse_quantize(str(raw.defaults.quantize)),
        max_seq_length=raw.defaults.max_seq_length,
        quick_matrix=raw.defaults.quick_matrix,
        in_walk=raw.walk,
    )


def resolve(
    name: str, folder: Path, weights: WeightsChoice, presets: Mapping[str, Preset]
) -> Model:
    """The model that `name` means: a preset, else `folder`; ModelError where it is neither."""
    if preset := presets.get(name):
        return _from_preset(preset, weights)
    if folder.is_dir():
        return _from_folder(folder, weights, id_name(folder.resolve().name), None)
    if "/" in name:
        raise ModelError(
            f"{name} is neither a preset nor a folder: download it "
            f"(hf download {name} --local-dir FOLDER) and name the folder"
        )
    near = difflib.get_close_matches(name, presets, n=3, cutoff=0.4) or list(presets)
    raise ModelError(f"{name} is neither a preset nor a folder: did you mean {', '.join(near)}?")


def unknown_model(name: str) -> Model:
    """A model of which a recording has nothing but the name."""
    return Model(
        name=id_name(name),
        title=redactor()(name),
        architecture={},
        weights="synthetic",
        folder=None,
        preset=None,
    )


def _from_preset(preset: Preset, weights: WeightsChoice) -> Model:
    if preset.folder is not None and preset.folder.is_dir():
        return _from_folder(preset.folder, weights, id_name(preset.name), preset)
    if weights == "local":
        raise ModelError(
            f"the weights of {preset.name} are not on this machine: name their folder, or use "
            "--yourai-weights synthetic"
        )
    if preset.architecture is None:
        raise ModelError(f"{preset.name} has neither a folder nor an architecture: add one of them")
    return Model(
        name=id_name(preset.name),
        title=preset.title,
        architecture=preset.architecture,
        weights="synthetic",
        folder=None,
        preset=preset,
    )


def _from_folder(folder: Path, weights: WeightsChoice, name: str, preset: Preset | None) -> Model:
    architecture = read_architecture(folder / "config.json")
    there = any(folder.glob("model*.safetensors"))
    if weights == "local" and not there:
        raise ModelError(
            f"{folder} has no model*.safetensors: put the weights there, or use "
            "--yourai-weights synthetic"
        )
    return Model(
        name=name,
        title=preset.title if preset else folder.resolve().name,
        architecture=architecture,
        weights="local" if there and weights != "synthetic" else "synthetic",
        folder=folder.resolve(),
        preset=preset,
    )


def read_architecture(path: Path) -> dict[str, Any]:
    """A config.json as a mapping with a model_type; ModelError where it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} is not a model: it has no {path.name}; name a folder as mlx-lm loads it"
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError(f"{path} cannot be read as a model's config: {problem}") from None
    if not isinstance(value, dict) or not isinstance(value.get("model_type"), str):
        raise ModelError(f"{path}: model_type: this key is missing; is it a model's config?")
    return value


def id_name(name: str) -> str:
    """`name` with nothing that `-k` cannot match, and no secret: ids go everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", redactor()(name)) or "model"
