"""The flags of `yourai train`. Their values stay None where nobody gives them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pytest_yourai.cli.parser import parsed
from pytest_yourai.core.config import parse_quantize
from pytest_yourai.core.parsing import at_least, memory_bytes, module_names, one_of, positive
from pytest_yourai.core.paths import given_path, packaged_models
from pytest_yourai.models.dataset_checks import data_source
from pytest_yourai.plan.flags import FAIL_ON_HELP

TRAIN_HELP = "train LoRA adapters with a configuration that was measured"

_MOST = 1_000_000_000

_MOST_SEED = 2**32 - 1
"""What NumPy takes."""

_LARGEST_LEARNING_RATE = 10


class TrainFlag(NamedTuple):
    """`--NAME METAVAR`, and the option that it sets; a switch has no metavar.

    `default` is for people, `value` what the option is where the flag is not given.
    """

    name: str
    option: str
    metavar: str | None
    help: str
    default: str = ""
    parse: Callable[[str], Any] | None = None
    value: Any = None

    @property
    def shown(self) -> str:
        """As help and README name it."""
        if self.option == "grad_checkpoint":
            return "--grad-checkpoint, --no-grad-checkpoint"
        return f"--{self.name} {self.metavar}" if self.metavar else f"--{self.name}"


def _path(text: str) -> Path:
    return given_path(text, Path.cwd())


_COUNT = at_least(1, _MOST)

TRAIN_FLAGS = (
    TrainFlag("model", "model", "NAME", "the model to train: a preset, a folder or owner/name"),
    TrainFlag(
        "data",
        "data",
        "PATH",
        "training data as mlx-lm reads it",
        "none; needed but for synthetic weights",
        lambda text: data_source(text, Path.cwd()),
    ),
    TrainFlag("profile", "profile", "FILE", "train with the optimum of this profile", "", _path),
    TrainFlag(
        "auto-optimize", "auto_optimize", None, "sweep first, and train with the optimum", "off"
    ),
    TrainFlag("quick", "quick", None, "with --auto-optimize: the quick matrix", "off"),
    TrainFlag(
        "matrix",
        "matrix",
        "FILE",
        "with --auto-optimize: a YAML matrix of one's own",
        "full.yaml; under 10 GB low-memory.yaml",
        _path,
    ),
    TrainFlag("batch-size", "batch_size", "N", "rows of a step", "4", _COUNT),
    TrainFlag("lora-rank", "rank", "N", "rank of the adapters", "8", _COUNT),
    TrainFlag("lora-layers", "num_layers", "N", "adapted layers, from the end", "16", _COUNT),
    TrainFlag(
        "seq-length",
        "max_seq_length",
        "N",
        "max_seq_length of mlx-lm, in tokens",
        "512 (tiny: 64)",
        at_least(2, _MOST),
    ),
    TrainFlag("grad-checkpoint", "grad_checkpoint", None, "gradient checkpointing", "off"),
    TrainFlag(
        "lora-keys",
        "lora_keys",
        "A,B",
        "modules that get adapters, as paths within a layer",
        "the q, k, v and o projections",
        module_names,
    ),
    TrainFlag(
        "quantize",
        "quantize",
        "BITS|none",
        "quantization of the base model",
        "that of local weights; for synthetic presets 4 (tiny: none)",
        parse_quantize,
    ),
    TrainFlag(
        "learning-rate",
        "learning_rate",
        "X",
        "learning rate of Adam",
        "1e-05",
        positive(_LARGEST_LEARNING_RATE),
    ),
    TrainFlag("max-steps", "max_steps", "N", "steps to train, with those before", "1000", _COUNT),
    TrainFlag(
        "seed", "seed", "N", "of adapters, dropout and order of data", "0", at_least(0, _MOST_SEED)
    ),
    TrainFlag("mask-prompt", "mask_prompt", None, "no loss for prompts", "off"),
    TrainFlag(
        "max-memory",
        "memory_limit_bytes",
        "GB",
        "memory budget in GB (1e9 bytes)",
        "that of the profile, if measured here, else detected",
        memory_bytes,
    ),
    TrainFlag(
        "adapter-path",
        "adapter_path",
        "FOLDER",
        "where adapters and checkpoint go",
        "adapters",
        _path,
        "adapters",
    ),
    TrainFlag("save-every", "save_every", "N", "steps between checkpoints", "100", _COUNT),
    TrainFlag("resume", "resume", None, "go on from the checkpoint in the adapter path", "off"),
    TrainFlag(
        "reload-interval",
        "reload_interval",
        "N",
        "steps after which a fresh process goes on",
        "when memory asks for it",
        _COUNT,
    ),
    TrainFlag(
        "memory-report-interval",
        "memory_report_interval",
        "N",
        "steps between reports of memory",
        "10",
        _COUNT,
    ),
    TrainFlag("steps-per-eval", "steps_per_eval", "N", "steps between validations", "200", _COUNT),
    TrainFlag(
        "val-batches",
        "val_batches",
        "N",
        "batches of a validation; -1 for all, 0 for none",
        "25",
        at_least(-1, _MOST),
    ),
    TrainFlag(
        "report-to",
        "report_to",
        "NAMES",
        "services that mlx-lm reports to: wandb, swanlab, or both",
        "none",
    ),
    TrainFlag("project-name", "project_name", "NAME", "what these services call the project"),
    TrainFlag(
        "models",
        "presets",
        "FILE",
        "a YAML list of presets of one's own",
        "models.yaml",
        _path,
        str(packaged_models()),
    ),
    TrainFlag(
        "weights",
        "weights",
        "local|hub|synthetic",
        "where weights come from; local: a folder or the local Hugging Face cache",
        "local",
        one_of("local", "hub", "synthetic"),
        "local",
    ),
    TrainFlag(
        "force",
        "force",
        None,
        "go on where the guard would stop, or available memory is under the floor",
        "off",
    ),
    TrainFlag(
        "trust-remote-code",
        "trust_remote_code",
        None,
        "run Python code that a model folder brings",
        "off",
    ),
)

_TRISTATE = ("mask_prompt",)
"""Switches of which a checkpoint may decide where they are not given."""


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` all of them; `--model` must be there."""
    for flag in TRAIN_FLAGS:
        text = f"{flag.help} (default: {flag.default})" if flag.default else flag.help
        name = f"--{flag.name}"
        settings: dict[str, Any] = {"dest": flag.option, "help": text}
        if flag.option == "grad_checkpoint":
            parser.add_argument(name, action=argparse.BooleanOptionalAction, **settings)
        elif flag.metavar is None:
            off = None if flag.option in _TRISTATE else False
            parser.add_argument(name, action="store_const", const=True, default=off, **settings)
        else:
            parser.add_argument(
                name,
                metavar=flag.metavar,
                type=parsed(flag.parse or str),
                default=flag.value,
                required=flag.name == "model",
                **settings,
            )


COMPARE_HELP = "put profiles side by side, and fail where one got worse than the first"

REPORT_HELP = "write profiles, or a folder of them, as an HTML page"

SHOW_HELP = "print the rows of profiles, and nothing else"

FORMATS = ("table", "md", "json", "jsonl", "csv")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles", metavar="PROFILE", type=Path, nargs="+", help="the first is the older one"
    )
    parser.add_argument(
        "--fail-on",
        metavar="METRIC:AMOUNT",
        action="append",
        default=[],
        help=FAIL_ON_HELP.replace("%", "%%"),
    )


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles",
        metavar="PROFILE",
        type=Path,
        nargs="+",
        help="a file, or a folder of them, which is shown as a history",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="where the page goes"
    )


def add_show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profiles",
        metavar="PROFILE",
        type=Path,
        nargs="+",
        help="a profile or benchmark results; of several each row names its own",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="table: aligned text for a terminal, * marks the optimum; md: Markdown for GitHub, as "
        "a sweep writes it; json, jsonl and csv: every key of a profile's rows "
        f"(default: {FORMATS[0]})",
    )
