"""The recipes that truth.py measures, each as the YAML that `mlx_lm.lora -c` takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.models import TINY, make_model, text_of, write_rows

MODELS: Mapping[str, Mapping[str, Any]] = {
    "tiny": TINY,
    "mid": {**TINY, "hidden_size": 128, "intermediate_size": 512},
}

_QKVO = tuple(f"self_attn.{name}_proj" for name in "qkvo")


@dataclass(frozen=True)
class Case:
    """One recipe. `ours` replaces keys of it for the sweep, where mlx-lm has no such key."""

    name: str
    model: str
    recipe: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accumulation(self) -> int:
        return int(self.recipe.get("grad_accumulation_steps", 1))


def make_models(folder: Path) -> None:
    """The models of MODELS and `data`: rows of one length, of prompts with completions."""
    for name, architecture in MODELS.items():
        make_model(folder / name, architecture)
    chooser = random.Random(0)
    words = text_of(2).split() + ["lazy", "dog", "rain", "falls", "green", "hills", "quick"]

    def text(count: int) -> str:
        return " ".join(chooser.choices(words, k=count))

    write_rows(folder / "data", [{"prompt": text(30), "completion": text(70)} for _ in range(32)])


def sized_recipe(model: str, batch: int, rank: int, layers: int, **changes: Any) -> dict[str, Any]:
    """Adapters on q, k, v and o with `changes`, of keys or of adapters."""
    more: dict[str, Any] = {}
    for name in {"dropout", "keys"} & changes.keys():
        more[name] = changes.pop(name)
    parameters: dict[str, Any] = {
        "rank": rank,
        "scale": 20.0,
        "dropout": 0.0,
        "keys": list(_QKVO),
        **more,
    }
    return {
        "model": model,
        "train": True,
        "data": "data",
        "batch_size": batch,
        "num_layers": layers,
        "max_seq_length": 64,
        "learning_rate": 1e-3,
        "lora_parameters": {name: each for name, each in parameters.items() if each is not None},
        **changes,
    }


def _sizes() -> list[Case]:
    sizes = ((1, 4, 2), (1, 8, 4), (2, 4, 4), (2, 8, 2), (4, 8, 2), (4, 8, 4))
    return [Case(" × ".join(map(str, each)), "tiny", sized_recipe("tiny", *each)) for each in sizes]


def _recipes() -> list[Case]:
    schedule = {"name": "cosine_decay", "warmup": 5, "arguments": [1e-3, 20, 1e-5]}
    changes: dict[str, dict[str, Any]] = {
        "lora, adam": {},
        "dora": {"fine_tune_type": "dora"},
        "full": {"fine_tune_type": "full"},
        "adamw": {"optimizer": "adamw", "optimizer_config": {"adamw": {"weight_decay": 0.1}}},
        "muon": {"optimizer": "muon"},
        "sgd": {"optimizer": "sgd"},
        "adafactor": {"optimizer": "adafactor"},
        "accumulation 4": {"grad_accumulation_steps": 4},
        "dropout 0.05": {"dropout": 0.05},
        "all keys": {"keys": None},
        "mask_prompt": {"mask_prompt": True},
        "lr_schedule": {"lr_schedule": schedule},
        "checkpointing": {"grad_checkpoint": True},
    }
    return [
        Case(name, "mid", sized_recipe("mid", 4, 8, 4, **change))
        for name, change in changes.items()
    ]


def _effective() -> list[Case]:
    return [
        Case(
            f"16 = {batch} × {16 // batch}",
            "tiny",
            sized_recipe("tiny", batch, 8, 4, grad_accumulation_steps=16 // batch),
            {"grad_accumulation_steps": None, "effective_batch_size": 16},
        )
        for batch in (1, 2, 4, 8, 16)
    ]


AXES: Mapping[str, Callable[[], list[Case]]] = {
    "sizes": _sizes,
    "recipes": _recipes,
    "effective": _effective,
}
