"""What two walks over the presets measured on an H200, against today's table and estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.estimate.training_memory import estimate_training_memory
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan.safe_table import safe_config

DATA = Path(__file__).parents[2] / "data"
PRESETS = read_presets(packaged_models())
GB = 1e9
ATTENTION = tuple(f"self_attn.{each}_proj" for each in "qkvo")


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"h200_benchmark_{name}.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "largest", "outcome_of_70b"),
    [("full", "hermes-70b", "ok"), ("24gb", "r1-distill-14b", "over_budget")],
)
def test_the_walk_is_as_the_presets_and_the_table_say(
    name: str, largest: str, outcome_of_70b: str
) -> None:
    walk = recorded(name)
    assert walk["recommended"] == largest
    assert [row["preset"] for row in walk["results"]] == [
        preset.name for preset in PRESETS.values() if preset.walk
    ]
    assert walk["results"][-1]["outcome"] == outcome_of_70b
    for row in walk["results"]:
        safe = safe_config(
            float(row["params"].removesuffix("B")) * 1e9,
            row["memory_limit_gb"] * GB,
            depth=None,
            like=LoraConfig(1, 1, 1, 512),
        )
        assert row["safe_config"] == {
            "batch_size": safe.batch_size,
            "lora_rank": safe.rank,
            "lora_layers": safe.num_layers,
            "max_seq_length": safe.max_seq_length,
            "grad_checkpoint": safe.grad_checkpoint,
        }


@pytest.mark.parametrize("name", ["full", "24gb"])
def test_what_was_measured_is_what_is_estimated(name: str) -> None:
    for row in recorded(name)["results"]:
        config = row["safe_config"]
        estimate = estimate_training_memory(
            PRESETS[row["preset"]].architecture or {},
            batch_size=config["batch_size"],
            lora_rank=config["lora_rank"],
            lora_layers=config["lora_layers"],
            seq_length=config["max_seq_length"],
            quantization_bits=4,
            lora_keys=ATTENTION,
            backend="cuda",
        )
        limit_bytes = row["memory_limit_gb"] * GB
        if not row["success"]:
            assert estimate.weights_bytes * SAFETY_MARGIN > limit_bytes
            continue
        minimum_bytes = row["minimum_memory_gb"] * GB
        assert estimate.minimum_bytes == pytest.approx(minimum_bytes, rel=0.03)
        assert estimate.conservative_bytes >= minimum_bytes
        assert minimum_bytes * SAFETY_MARGIN < limit_bytes
