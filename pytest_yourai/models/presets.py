"""Lists of models: names of repositories, folders or architectures, with their defaults."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from pytest_yourai.core.config import Quantization, QuantizeChoice, quantize_choice
from pytest_yourai.core.errors import ModelError
from pytest_yourai.core.paths import given_path
from pytest_yourai.core.units import parameter_count
from pytest_yourai.core.yaml_file import YamlFile, parse_yaml, read_text, validate
from pytest_yourai.models import hub
from pytest_yourai.models.folder import endless_number, read_architecture

PackagedMatrix = Literal["quick", "full", "tiny", "low-memory"]

Params = Annotated[str, pydantic.AfterValidator(lambda text: (parameter_count(text), text)[1])]
"""A number of parameters as text, such as 8B."""


class _Defaults(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    quantize: Annotated[QuantizeChoice, pydantic.PlainValidator(quantize_choice)] = None
    max_seq_length: int | None = pydantic.Field(default=None, ge=2)
    quick_matrix: PackagedMatrix | None = None


def _checked_repo(value: str | None) -> str | None:
    if value is not None and not hub.is_repo_id(value):
        raise ValueError("it must be a repository of the Hugging Face hub, as owner/name")
    return value


def _checked_path(value: str | None) -> str | None:
    if value is not None:
        given_path(value, Path())
    return value


def _checked_architecture(value: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
    if isinstance(value, dict) and not isinstance(value.get("model_type"), str):
        raise ValueError(  # noqa: TRY004 - pydantic reports this one
            "it must have a model_type, as a model's config.json has"
        )
    if isinstance(value, dict) and (key := endless_number(value)):
        raise ValueError(f"{key}: no model has a number that large: correct it")
    return _checked_path(value) if isinstance(value, str) else value


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    about: str | None = None
    """Whose model it is, and what was done to it."""
    repo: Annotated[str | None, pydantic.AfterValidator(_checked_repo)] = None
    repo_4bit: Annotated[str | None, pydantic.AfterValidator(_checked_repo)] = None
    path: Annotated[str | None, pydantic.AfterValidator(_checked_path)] = None
    params: Params | None = None
    architecture: Annotated[
        dict[str, Any] | str | None, pydantic.AfterValidator(_checked_architecture)
    ] = None
    defaults: _Defaults = _Defaults()
    walk: bool = True
    """True if a walk over all models visits it."""


class Preset(_Entry):
    """One entry of a models file.

    `mistake` is why its architecture cannot be read, with the place of the key; None if it can be,
    or if the entry has none.
    """

    name: str
    folder: Path | None
    architecture: dict[str, Any] | None
    mistake: str | None

    @property
    def title(self) -> str:
        """The name of its repository or folder, else its own."""
        source = self.repo or self.path
        return source.rstrip("/").rpartition("/")[2] if source else self.name

    def repo_for(self, quantize: QuantizeChoice) -> str | None:
        """The repository to take weights from where `quantize` is asked for: None is no wish."""
        is_4bit = quantize in (None, Quantization(bits=4))
        return (self.repo_4bit if is_4bit else None) or self.repo


def read_presets(path: Path) -> dict[str, Preset]:
    """The presets of a models file, in its order; ModelError if the file is not valid.

    An architecture in a separate file that cannot be read is the mistake of its entry alone.
    """
    file, entries = _parsed(path, read_text(path, ModelError, "a list of models"))
    return {
        name: _preset(name, raw, path.parent, file.where((name, "architecture")))
        for name, raw in entries.items()
    }


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, text: str) -> tuple[YamlFile, dict[str, _Entry]]:
    """The entries of a models file, which estimates of model after model read each time."""
    file = parse_yaml(path, text, ModelError)
    if not isinstance(file.value, dict) or not file.value:
        raise ModelError(f"{path}:1: this is not a list of models: it must map names to models")
    entries = {}
    for name, value in file.value.items():
        if not isinstance(name, str) or not name.strip():
            raise ModelError(
                f"{file.where((str(name),))}: {name!r} is not a name: write it in "
                "quotes, or choose another"
            )
        entries[name] = validate(file, _Entry, value, ModelError, at=(name,))
    return file, entries


def _preset(name: str, raw: _Entry, base: Path, where: str) -> Preset:
    """The preset of an entry; `where` is the place of its architecture in the file."""
    architecture, mistake = raw.architecture, None
    if isinstance(architecture, str):
        try:
            architecture = read_architecture(given_path(architecture, base))
        except ModelError as problem:
            architecture, mistake = None, f"{where}: {problem}"
    folder = given_path(raw.path, base) if raw.path else None
    own = {"name": name, "folder": folder, "architecture": architecture, "mistake": mistake}
    return Preset.model_construct(**{**dict(raw), **own})
