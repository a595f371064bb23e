"""The options of `yourai train`: one table that flags, help, docs, checkpoints and sweeps share.

Light to import, because `yourai --help` reads it.
"""

# ruff: noqa: RUF009 - these calls make fields

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_yourai.core.answers import Pick
from pytest_yourai.core.hosts import DistributedBackend, HostGroup
from pytest_yourai.core.parsing import (
    one_of,
    positive,
)
from pytest_yourai.core.paths import given_path, packaged_models
from pytest_yourai.training.option_fields import TrainOption, option, switch
from pytest_yourai.training.option_values import TrainValues

_MOST_SECONDS = 1e8


def _model_name(text: str) -> str:
    given_path(text, Path.cwd())
    return text


def _path(text: str) -> Path:
    return given_path(text, Path.cwd())


def _hosts(text: str) -> HostGroup:
    # It reads files, and looks at the machine: not for --help.
    from pytest_yourai.plan.hosts import parse_hosts  # noqa: PLC0415

    return parse_hosts(text, Path.cwd())


def _hosts_text(hosts: HostGroup) -> str:
    return str(hosts.hostfile or hosts.world_size)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainValues):
    """The options of one `yourai train`.

    `model` is as it was named, `presets` the list that it is looked up in; other paths are
    absolute.
    """

    model: str = option(
        "--model",
        "the model to train: a preset, a folder or owner/name",
        value=dataclasses.MISSING,
        metavar="NAME",
        parse=_model_name,
    )
    config: Path | None = option(
        "--config",
        "recipe: the YAML file that mlx_lm.lora --config takes",
        aliases=("-c",),
        metavar="FILE",
        parse=_path,
    )
    profile: Path | None = option(
        "--profile", "train with an answer of this profile", metavar="FILE", parse=_path
    )
    auto_optimize: bool = switch("--auto-optimize", "sweep first, and train with its answer")
    pick: Pick | None = option(
        "--pick",
        "which answer of the profile or the sweep to train with, of those that agree with other "
        "flags",
        metavar="largest|fastest|leanest",
        default_help="the one that the sweep names first",
        parse=lambda text: Pick(one_of(*Pick)(text)),
    )
    quick: bool = switch("--quick", "with --auto-optimize: the quick matrix")
    matrix: Path | None = option(
        "--matrix",
        "with --auto-optimize: your own YAML matrix",
        metavar="FILE",
        default_help="full.yaml; under 10 GB low-memory.yaml",
        parse=_path,
    )
    adapter_path: Path = option(
        "--adapter-path",
        "folder for adapters and checkpoint",
        value=dataclasses.MISSING,
        metavar="FOLDER",
        default="adapters",
        parse=_path,
    )
    resume: bool = switch("--resume", "continue from the checkpoint in the adapter path")
    presets: Path = option(
        "--models",
        "YAML list of presets, where --model looks up names",
        aliases=("--presets",),
        value=packaged_models(),
        metavar="FILE",
        default_help="models.yaml",
        parse=_path,
    )
    weights: Literal["local", "hub", "synthetic"] = option(
        "--weights",
        "where weights come from; local: a folder or the local Hugging Face cache",
        value="local",
        metavar="local|hub|synthetic",
        default="local",
        parse=one_of("local", "hub", "synthetic"),
    )
    hosts: HostGroup | None = option(
        "--hosts",
        "train data parallel, on N ranks of this machine or on the hosts of mlx.launch's hostfile",
        metavar="N|FILE",
        default_help="one process",
        parse=_hosts,
        text=_hosts_text,
    )
    hosts_backend: DistributedBackend | None = option(
        "--hosts-backend",
        "what the ranks talk through, as mlx.launch --backend",
        metavar="ring|nccl|jaccl|jaccl-ring|mpi",
        default_help="the hostfile's, else nccl with CUDA, else ring",
        parse=lambda text: DistributedBackend(one_of(*DistributedBackend)(text)),
    )
    compile_timeout_s: float | None = option(
        "--compile-timeout",
        "time limit of each step that compiles, in seconds",
        metavar="S",
        default_help="900",
        parse=positive(_MOST_SECONDS),
    )
    force: bool = switch(
        "--force", "continue where the guard would stop, or available memory is under the floor"
    )
    trust_remote_code: bool = switch(
        "--trust-remote-code", "run Python code that a model folder brings"
    )

    @property
    def group(self) -> HostGroup | None:
        """The ranks that train, with the backend that was asked for; None for one process."""
        if self.hosts is None or self.hosts_backend is None:
            return self.hosts
        return dataclasses.replace(self.hosts, backend=self.hosts_backend)


TRAIN_FIELDS = sorted(dataclasses.fields(TrainOptions), key=lambda field: field.name != "model")
"""In the order of help: what to train comes first."""

TRAIN_OPTIONS: dict[str, TrainOption] = {
    each.name: each.metadata["option"] for each in TRAIN_FIELDS
}
"""By the name of the field."""


TRAIN_GROUPS = {
    "What to train": (
        *("model", "config", "profile", "auto_optimize", "pick", "quick", "matrix", "resume"),
        *("data", "bad_rows", "mask_prompt", "weights", "quantize", "presets"),
    ),
    "Configuration": (
        *("batch_size", "rank", "num_layers", "max_seq_length", "grad_checkpoint"),
        *("fine_tune_type", "optimizer", "lora_keys", "dropout", "grad_accumulation_steps"),
        *("learning_rate", "max_grad_norm", "seed"),
    ),
    "Budget": ("memory_limit_bytes", "compile_timeout_s", "force"),
    "Course": (
        *("max_steps", "steps_per_eval", "val_batches", "patience", "save_every"),
        *("reload_interval", "memory_report_interval", "max_skipped_batches"),
    ),
    "Several machines": ("hosts", "hosts_backend"),
    "Output": ("adapter_path", "keep", "report_to", "project_name"),
    "Advanced": ("trust_remote_code",),
}
"""The names of the fields that help shows together, by its title for them."""

HANDED_ON = (
    *TRAIN_GROUPS["Course"],
    *TRAIN_GROUPS["Output"],
    *("learning_rate", "max_grad_norm", "seed"),
)
"""Those that a sweep does not measure, and the training with its answer needs."""
