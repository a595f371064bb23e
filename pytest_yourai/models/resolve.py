"""From a name to a model: its architecture, the source of its weights, its quantization.

A name is a preset of a models file, a folder with a config.json, or a repository of the Hugging
Face hub. Weights are read from a folder as mlx-lm loads it (the user's, or a snapshot in the local
cache), downloaded into that cache first, or synthetic, in the shapes of the architecture.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.config import DEFAULT_MAX_SEQ_LENGTH, Quantization, QuantizeChoice
from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.labels import id_name
from pytest_yourai.core.lfs import pointer_in, pointer_remedy
from pytest_yourai.core.paths import is_folder, without_links
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.units import parameter_count
from pytest_yourai.models import hub
from pytest_yourai.models.architecture import read_architecture_shapes
from pytest_yourai.models.config_keys import (
    DEPTH_KEYS,
    first_whole,
    flat_config,
    stored_quantization,
)
from pytest_yourai.models.folder import CONFIG, WEIGHTS, missing_file, read_architecture
from pytest_yourai.models.presets import Preset
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.stored_weights import as_stored, read_tensors, stored_bytes

Weights = Literal["local", "hub", "synthetic"]
"""In a folder; still to be downloaded; synthetic."""

WeightsChoice = Literal["auto", "local", "hub", "synthetic"]

PRESET_QUANTIZATION = Quantization(bits=4)
"""Default for synthetic weights of presets: the way most people fine-tune them."""

_AS_CONVERTED = {"bits": 4, "group_size": 64}
"""How a config.json names the quantization of a preset's repository in 4 bits."""


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
        return replace(_as_stored(self, folder), weights="local", folder=folder)

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


def resolve(
    name: str,
    folder: Path,
    weights: WeightsChoice,
    presets: Mapping[str, Preset],
    quantize: QuantizeChoice = None,
) -> Model:
    """The model that `name` means: a preset, else `folder`, else a repository of the hub.

    A preset with weights in 4 bits has others where `quantize` asks for them. UnavailableError if
    it is not there, or not with `weights`; ModelError if `name` is none of them, or unreadable. The
    network is used only for a repository's config.json, under `hub`.
    """
    if preset := presets.get(name):
        return _from_preset(preset, weights, quantize)
    if is_folder(folder):
        return _from_folder(Model.known(without_links(folder).name), folder, weights)
    if hub.is_repo_id(name):
        return _from_repo(Model.known(name.rpartition("/")[2]), name, weights, None)
    if name.startswith((".", "~")) or "/" in name:
        raise ModelError(
            f"there is no folder {name}: name one with a model's config.json, a preset, or a "
            "repository as owner/name"
        )
    near = difflib.get_close_matches(name, presets, n=3, cutoff=0.4)
    remedy = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(presets)}"
    raise ModelError(
        f"{name} is neither a preset nor a folder, nor a repository as owner/name: {remedy}"
    )


def _from_preset(preset: Preset, weights: WeightsChoice, quantize: QuantizeChoice) -> Model:
    if preset.mistake is not None:
        raise ModelError(preset.mistake)
    known = Model.known(preset.name, preset)
    if preset.folder is not None and is_folder(preset.folder):
        return _from_folder(known, preset.folder, weights)
    if preset.repo is not None:
        return _from_repo_of_preset(known, preset, weights, quantize)
    if weights in ("local", "hub") or preset.architecture is None:
        raise _without_source(preset)
    return replace(known, architecture=preset.architecture)


def _from_repo_of_preset(
    known: Model, preset: Preset, weights: WeightsChoice, quantize: QuantizeChoice
) -> Model:
    """The model of the repository for `quantize`; where it is not cached, of one that is."""
    repos = [each for each in (preset.repo_for(quantize), preset.repo) if each]
    cached = (each for each in repos if hub.cached_snapshot(each)) if weights == "auto" else ()
    repo, architecture = next(iter(cached), repos[0]), preset.architecture
    if weights == "hub" and repo != preset.repo and architecture is not None:
        architecture = {**architecture, "quantization": _AS_CONVERTED}
    return _from_repo(known, repo, weights, architecture)


def _without_source(preset: Preset) -> ModelError:
    if preset.folder is not None:
        return UnavailableError(f"{preset.name}: there is no folder {preset.folder}: fix its path")
    if preset.architecture is None:
        return ModelError(f"{preset.name} has no repo, path or architecture: add one of them")
    return UnavailableError(
        f"{preset.name} is an architecture without weights: use --yourai-weights=synthetic"
    )


def _from_folder(known: Model, folder: Path, weights: WeightsChoice) -> Model:
    read_architecture(folder / CONFIG)
    missing = missing_file(folder)
    found = replace(_as_stored(known, folder), folder=without_links(folder))
    pointer = pointer_in(folder, WEIGHTS)
    if missing is not None or pointer is not None:
        found = replace(found, stored_bytes=None)
    if missing is None and pointer is None and weights != "synthetic":
        return replace(found, weights="local")
    if weights in ("local", "hub"):
        lacking = f"{folder} has no {missing}: put the weights there"
        what = pointer_remedy(pointer) if pointer else lacking
        raise UnavailableError(f"{what}, or use --yourai-weights=synthetic")
    if weights == "synthetic":
        return found
    if pointer:
        return replace(found, note=f"{_made_up(known)}: {pointer_remedy(pointer)}")
    return replace(found, note=_why_synthetic(known, missing))


def _as_stored(known: Model, folder: Path) -> Model:
    """`known` with the architecture of a folder, and what its weights say of it."""
    tensors = read_tensors(folder)
    architecture = as_stored(read_architecture(folder / CONFIG), tensors)
    return replace(
        known, architecture=architecture, stored_bytes=stored_bytes(architecture, tensors)
    )


def _from_repo(
    known: Model, repo: str, weights: WeightsChoice, architecture: Mapping[str, Any] | None
) -> Model:
    """The model of a repository, cached or not; `architecture` is the preset's."""
    known = replace(known, repo=repo)
    if weights == "synthetic" and architecture is not None:
        return replace(known, architecture=architecture)
    snapshot = hub.cached_snapshot(repo)
    if snapshot is not None and snapshot.missing is None and weights != "synthetic":
        return _from_folder(known, snapshot.folder, weights)
    if weights == "local":
        raise _not_cached(known, repo, snapshot)
    there = snapshot.folder if snapshot is not None and snapshot.missing != CONFIG else None
    if weights == "hub":
        path = there / CONFIG if there else None
        if path is None and architecture is None:
            path = hub.fetch_config(repo)
        expected = read_architecture(path) if path else architecture
        return replace(known, architecture=expected or {}, weights="hub")
    note = _why_synthetic(known, snapshot.missing) if snapshot and weights == "auto" else None
    if architecture is not None:
        return replace(known, architecture=architecture, note=note)
    if there is None:
        raise _not_cached(known, repo, snapshot)
    return replace(_from_folder(known, there, "synthetic"), note=note)


def _why_synthetic(known: Model, missing: str | None) -> str | None:
    """A note if some weights are there; without any, the header says "synthetic" already."""
    if missing in (None, WEIGHTS):
        return None
    return f"{_made_up(known)}: there is no {missing}"


def _made_up(known: Model) -> str:
    return f"the weights of {known.title} are synthetic"


def _not_cached(known: Model, repo: str, snapshot: hub.Snapshot | None) -> UnavailableError:
    if snapshot is not None:
        what = f"{snapshot.folder}, the cached {repo}, has no {snapshot.missing}"
    elif known.preset is not None:
        what = f"the weights of {known.preset.name} are not on this machine"
    else:
        what = f"{repo} is neither a preset nor a folder, and not in the Hugging Face cache"
    return UnavailableError(redactor()(f"{what}: add --yourai-weights=hub to download it"))
