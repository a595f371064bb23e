"""From a name to a model: its architecture, the source of its weights, its quantization.

A name is a preset of a models file, a folder with a config.json, or a repository of the Hugging
Face hub. Weights are read from a folder as mlx-lm loads it (the user's, or a snapshot in the local
cache), downloaded into that cache first, or synthetic, in the shapes of the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pytest_yourai.core.config import QuantizeChoice
from pytest_yourai.core.errors import ModelError, UnavailableError
from pytest_yourai.core.lfs import pointer_in, pointer_remedy
from pytest_yourai.core.paths import is_folder, without_links
from pytest_yourai.core.redaction import redactor
from pytest_yourai.core.similar import similar
from pytest_yourai.models import hub
from pytest_yourai.models.folder import CONFIG, WEIGHTS, missing_file, read_architecture
from pytest_yourai.models.model import Model
from pytest_yourai.models.presets import Preset

WeightsChoice = Literal["auto", "local", "hub", "synthetic"]


_AS_CONVERTED = {"bits": 4, "group_size": 64}
"""How a config.json names the quantization of a preset's repository in 4 bits."""


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
    near = similar(name, presets, most=3)
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
    found = replace(known.as_stored_in(folder), folder=without_links(folder))
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
    return UnavailableError(redactor()(f"{what}: add --yourai-weights=hub to download the model"))
