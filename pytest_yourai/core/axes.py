"""The axes of a matrix: one table of what each is called in files, flags, ids, and for people.

Kept light: every pytest run imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.config import (
    ALL_LAYERS,
    FineTuneType,
    LoraConfig,
    Optimizer,
    canonical_keys,
)
from pytest_yourai.core.parsing import at_least, number_within, one_of

NO_VALUE = "–"

MOST_COUNT = 1_000_000

MOST_TOKENS = 10_000_000

MOST_ACCUMULATED = 100_000


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: the field `name` of a LoraConfig.

    `key` is its name in matrix files, profiles and journals, `mlx_lm` its place in the
    configuration of mlx_lm.lora. `parse` reads one value from a flag; a switch has no `metavar`.
    """

    name: str
    key: str
    flag: str
    label: str
    title: str
    mlx_lm: tuple[str, ...]
    help: str
    metavar: str | None
    parse: Callable[[str], Any]
    argument: str
    """Its name in the marker `lora`."""
    id_form: str
    """Its part of an item id, with the value's text for {}."""
    aliases: tuple[str, ...] = ()
    """Other names in a matrix file: mlx-lm's own."""

    is_of_adapters: bool = False
    """True if it means nothing in full fine-tuning, which has no adapters."""

    def applies_to(self, config: LoraConfig) -> bool:
        """False where `config` would train the same with another value."""
        return not (self.is_of_adapters and config.fine_tune_type is FineTuneType.FULL)

    def of(self, config: LoraConfig) -> Any:
        """The value of `config`."""
        return getattr(config, self.name)

    def stored(self, config: LoraConfig) -> Any:
        """The value of `config` as JSON and YAML have it."""
        value = self.of(config)
        return str(value) if isinstance(value, str) else value

    def text(self, config: LoraConfig) -> str:
        """The value of `config` for people; a dash where there is none."""
        return value_text(self.of(config)) if self.applies_to(config) else NO_VALUE

    def id_part(self, config: LoraConfig) -> str:
        """The part of an item id that names the value of `config`."""
        return self.id_form.format(value_text(self.of(config)).replace(",", "+"))


def recipe_of(config: LoraConfig) -> tuple[Any, ...]:
    """The values of what is trained, and how: equal where sizes alone differ."""
    return tuple(axis.of(config) for axis in RECIPE)


def value_text(value: Any) -> str:
    """The value of an axis for people: `on`, `adamw`, `0.05`, `4`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _layers(text: str) -> int:
    return ALL_LAYERS if text in ("all", str(ALL_LAYERS)) else at_least(1, MOST_COUNT)(text)


def _axis(name: str, **others: Any) -> Axis:
    """An axis that is called as mlx-lm calls it, wherever `others` do not say."""
    usual = {"key": name, "flag": name.replace("_", "-"), "mlx_lm": (name,), "argument": name}
    return Axis(name=name, **(usual | others))


BATCH_SIZE = _axis(
    "batch_size",
    label="batch",
    title="Batch size",
    help="rows of a step",
    metavar="N",
    parse=at_least(1, MOST_COUNT),
    id_form="batch{}",
)

RANK = _axis(
    "rank",
    key="lora_rank",
    label="rank",
    title="LoRA rank",
    mlx_lm=("lora_parameters", "rank"),
    help="rank of the adapters",
    metavar="N",
    parse=at_least(1, MOST_COUNT),
    id_form="rank{}",
    is_of_adapters=True,
    aliases=("rank",),
)

NUM_LAYERS = _axis(
    "num_layers",
    key="lora_layers",
    label="layers",
    title="LoRA layers",
    help="adapted layers, counted from the end of the model; all or -1 for all",
    metavar="N",
    parse=_layers,
    argument="layers",
    id_form="layers{}",
    aliases=("num_layers",),
)

MAX_SEQ_LENGTH = _axis(
    "max_seq_length",
    flag="seq-length",
    label="seq",
    title="Sequence",
    help="mlx-lm's max_seq_length, in tokens",
    metavar="N",
    parse=at_least(2, MOST_TOKENS),
    argument="seq_length",
    id_form="seq{}",
)

GRAD_CHECKPOINT = _axis(
    "grad_checkpoint",
    label="checkpoint",
    title="Checkpointing",
    help="gradient checkpointing",
    metavar=None,
    parse=lambda text: one_of("true", "false")(text) == "true",
    id_form="ckpt",
)

FINE_TUNE_TYPE = _axis(
    "fine_tune_type",
    label="type",
    title="Type",
    help="kind of training: lora, dora or full",
    metavar="TYPE",
    parse=lambda text: FineTuneType(one_of(*FineTuneType)(text)),
    id_form="{}",
)

OPTIMIZER = _axis(
    "optimizer",
    label="optimizer",
    title="Optimizer",
    help="optimizer: adam, adamw, muon, sgd or adafactor",
    metavar="NAME",
    parse=lambda text: Optimizer(one_of(*Optimizer)(text)),
    id_form="{}",
)

LORA_KEYS = _axis(
    "lora_keys",
    label="keys",
    title="Modules",
    mlx_lm=("lora_parameters", "keys"),
    help="modules that get adapters: all, qkvo, qv, or paths within a layer",
    metavar="A,B",
    parse=lambda text: canonical_keys(text.split(",")),
    id_form="{}",
    is_of_adapters=True,
)

DROPOUT = _axis(
    "dropout",
    label="dropout",
    title="Dropout",
    mlx_lm=("lora_parameters", "dropout"),
    help="dropout of the adapters' input",
    metavar="X",
    parse=number_within(0, 1),
    id_form="dropout{}",
    is_of_adapters=True,
)

GRAD_ACCUMULATION_STEPS = _axis(
    "grad_accumulation_steps",
    label="accumulation",
    title="Accumulation",
    help="steps whose gradients are accumulated for one update",
    metavar="N",
    parse=at_least(1, MOST_ACCUMULATED),
    id_form="accum{}",
)

SIZES = (BATCH_SIZE, RANK, NUM_LAYERS)
"""The axes that each configuration is named by, and whose product is its score."""

RECIPE = (FINE_TUNE_TYPE, OPTIMIZER, LORA_KEYS, DROPOUT, GRAD_ACCUMULATION_STEPS)
"""The axes that say what is trained, and how."""

VARIANTS = (MAX_SEQ_LENGTH, GRAD_CHECKPOINT, *RECIPE)
"""The axes that have one value in most sweeps."""

AXES = (*SIZES, *VARIANTS)

AXIS_BY_NAME: Mapping[str, Axis] = {axis.name: axis for axis in AXES}
