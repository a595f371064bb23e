"""A model that can be measured: what is known of it, and where its weights are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, Quantization, QuantizeChoice
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.lfs import pointer_in, pointer_remedy
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.units import parameter_count
from pytest_yourai.models import hub
from pytest_yourai.models.architecture_reader import read_architecture_shapes
from pytest_yourai.models.config_keys import (
    DEPTH_KEYS,
    first_whole,
    flat_config,
    stored_quantization,
)
from pytest_yourai.models.folder import CONFIG, read_architecture
from pytest_yourai.models.presets import Preset
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.stored_weights import as_stored, read_tensors, stored_bytes

Weights = Literal["local", "hub", "synthetic"]
"""In a folder; still to be downloaded; synthetic."""

PRESET_QUANTIZATION = Quantization(bits=4)
"""Default for synthetic weights of presets: the way most people fine-tune them."""


@dataclass(frozen=True)
class NamedModel:
    """A model by its name; `folder` is the path that this means unless it names a preset."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Model:
    """A model that can be measured: `name` is for test ids, `title` for people.

    With weights `hub` there is a `repo`, and no folder until it is `downloaded`. `note` says why
    weights are synthetic although some are there; `stored_bytes` is the size of all of them.
    """

    name: str
    title: str
    preset: Preset | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = "synthetic"
    folder: Path | None = None
    repo: str | None = None
    note: str | None = None
    stored_bytes: int | None = None

    @classmethod
    def known(cls, name: str, preset: Preset | None = None) -> Model:
        """The model with this name, of which nothing else is known without its `preset`."""
        return cls(id_name(name), preset.title if preset else redactor()(name), preset)

    def downloaded(self, print_line: Callable[[str], None]) -> Model:
        """The same model with its weights in a folder, downloaded if necessary.

        Architecture and quantization are those of the folder. `print_line` gets a line for people.
        UnavailableError, with its remedy, if the weights cannot be downloaded.
        """
        if self.weights != "hub" or self.repo is None:
            return self
        folder = hub.download(self.repo, print_line)
        return replace(self.as_stored_in(folder), weights="local", folder=folder)

    def as_stored_in(self, folder: Path) -> Model:
        """The same model with the architecture of a folder, and what its weights say of it."""
        tensors = read_tensors(folder)
        architecture = as_stored(read_architecture(folder / CONFIG), tensors)
        size = stored_bytes(architecture, tensors)
        return replace(self, architecture=architecture, stored_bytes=size)

    def require_tokenizer(self) -> None:
        """ModelError if it has none that could be read, so that no training data can be used."""
        if self.folder is None and self.weights != "hub":
            if self.repo is not None:
                raise ModelError(
                    f"--yourai-data: {self.name} has no tokenizer here: add --yourai-weights=hub, "
                    "which downloads it, or name a model folder that has one"
                )
            raise ModelError(
                f"--yourai-data: {self.name} has no tokenizer: name a model folder that has one"
            )
        if self.folder is not None and (pointer := pointer_in(self.folder, "*")):
            raise ModelError(f"--yourai-data: {pointer_remedy(pointer)}")

    def source(
        self,
        quantization: Quantization | None,
        lora_keys: tuple[str, ...],
        *,
        trust_remote_code: bool = False,
        requires_lora_keys: bool = True,
    ) -> ModelSource:
        """The model as a worker is to build it."""
        return ModelSource(
            name=self.name,
            architecture=self.architecture,
            folder=str(self.folder) if self.folder else None,
            synthetic=self.weights == "synthetic",
            quantization=quantization,
            lora_keys=lora_keys,
            trust_remote_code=trust_remote_code,
            requires_lora_keys=requires_lora_keys,
            stored_bytes=self.stored_bytes if self._is_held_as_stored(quantization) else None,
        )

    def _is_held_as_stored(self, quantization: Quantization | None) -> bool:
        return quantization is None or stored_quantization(self.architecture) is not None

    @property
    def depth(self) -> int | None:
        """Number of hidden layers; None if no known key of the architecture has it."""
        return first_whole(flat_config(self.architecture), *DEPTH_KEYS) or None

    @property
    def parameters(self) -> float | None:
        """Number of parameters, as the preset states, else by its shapes; None if neither does."""
        if self.preset is not None and self.preset.params is not None:
            return parameter_count(self.preset.params)
        try:
            return float(read_architecture_shapes(self.architecture).parameters)
        except ModelError:
            return None

    @property
    def origin(self) -> str | None:
        """The repository of a preset, and whose it is; None without one."""
        if self.preset is None or self.preset.repo is None:
            return None
        return ": ".join(filter(None, (self.repo or self.preset.repo, self.preset.about)))

    @property
    def default_max_seq_length(self) -> int:
        """Tokens of a row unless the user chose."""
        own = self.preset.defaults.max_seq_length if self.preset else None
        return own or DEFAULT_MAX_SEQ_LENGTH

    @property
    def foreign_quantization(self) -> str | None:
        """The method of weights that are quantized, but not by mlx-lm."""
        if "quantization" in self.architecture:
            return None
        foreign = self.architecture.get("quantization_config")
        return str(foreign.get("quant_method")) if isinstance(foreign, Mapping) else None

    def quantization(self, choice: QuantizeChoice) -> Quantization | None:
        """The base model's quantization by mlx-lm; ModelError if `choice` contradicts its weights.

        None for full precision, and for weights in a foreign quantization, which stay as they are.
        """
        stored = stored_quantization(self.architecture)
        if self.foreign_quantization is not None and self.weights == "synthetic":
            raise ModelError(
                f"{self.title} is quantized with {self.foreign_quantization}, which synthetic "
                "weights cannot have: put its weights into the folder"
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
            choice = self.preset.defaults.quantize
            if choice is None and self.weights == "synthetic":
                choice = PRESET_QUANTIZATION
        return choice if isinstance(choice, Quantization) else None


def _agree(choice: QuantizeChoice, stored: Quantization | None) -> bool:
    """True if `choice` has the bits of the stored affine quantization."""
    if stored is None or not isinstance(choice, Quantization):
        return False
    return stored.mode == choice.mode and stored.bits == choice.bits
