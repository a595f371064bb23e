"""Profiles, plans and soaks, for tests of what is made of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.core.conditions import SweepSettings
from pytest_yourai.core.config import LoraConfig, StepPlan
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.recipe import MLX_LM_DEFAULTS
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.sweep_plan import SweepPlan
from pytest_yourai.report.page.render import Content, write_page
from pytest_yourai.store.profile_reader import profiles_in
from pytest_yourai.store.stored_profile import StoredProfile

DATA = Path(__file__).parents[1] / "data"
QUICK = DATA / "h200_llama8b_quick.json"
HOSTILE = "</script><img src=x onerror=alert(1)>&quot;<b>"
OPTIMUM = ("batch_size", "lora_rank", "lora_layers", "max_seq_length", "grad_checkpoint")
GB = 1_000_000_000


def document(change: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
    """The profile of 12 configurations of llama-8b on an H200, changed."""
    found: dict[str, Any] = copy.deepcopy(json.loads(QUICK.read_text(encoding="utf-8")))
    change(found)
    return found


def stored(
    change: Callable[[dict[str, Any]], object] = lambda _: None, name: str = "p.json"
) -> StoredProfile:
    [found] = profiles_in(document(change), name)
    return found


def slower(factor: float, *rows: int) -> Callable[[dict[str, Any]], None]:
    """A plan that makes the steps of `rows`, of all without any, `factor` times as long."""

    def change(found: dict[str, Any]) -> None:
        for row in _chosen(found, rows):
            row["step_times_s"] = [each * factor for each in row["step_times_s"]]

    return change


def larger(factor: float, *rows: int) -> Callable[[dict[str, Any]], None]:
    """A plan that makes minimum and peak memory of `rows` grow."""

    def change(found: dict[str, Any]) -> None:
        for row in _chosen(found, rows):
            for key in ("minimum_memory_bytes", "peak_memory_bytes"):
                row[key] = round(row[key] * factor)

    return change


def failing(row: int, outcome: str, **more: Any) -> Callable[[dict[str, Any]], None]:
    """A plan that lets a trial fail."""

    def change(found: dict[str, Any]) -> None:
        values = {"outcome": outcome, "success": False, "error": f"it was {outcome}", **more}
        found["all_results"][row].update(values)

    return change


def _chosen(found: dict[str, Any], rows: tuple[int, ...]) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = found["all_results"]
    return [every[number] for number in rows] if rows else every


def quick() -> dict[str, Any]:
    """Twelve configurations of a real sweep, each with a prediction."""
    document: dict[str, Any] = json.loads((QUICK).read_text())
    for number, row in enumerate(document["all_results"]):
        row["predicted_minimum_memory_bytes"] = round(
            row["minimum_memory_bytes"] * (1 + (number % 5 - 2) / 100)
        )
    return document


def failed_only() -> dict[str, Any]:
    """The same with a budget that nothing fits in."""
    document = quick()
    document.update({f"optimal_{key}": None for key in OPTIMUM}, memory_limit_gb=5.0)
    for row in document["all_results"]:
        row.update(outcome="over_budget", success=False, error="its minimum is over the budget")
        row.update(step_times_s=[], step_tokens=[], peak_memory_bytes=None)
    return document


def with_failures() -> dict[str, Any]:
    """The same, where the largest configurations failed in two ways."""
    document = quick()
    for outcome, row in zip(("oom", "timeout"), document["all_results"][-3:], strict=False):
        row.update(outcome=outcome, success=False, error=f"the worker ended: {outcome} <i>")
    return document


def later(month: int, version: str, slower: float) -> dict[str, Any]:
    """The same sweep in another month, with another MLX."""
    document = copy.deepcopy(quick())
    document["created_at"] = f"2026-{month:02}-01T12:00:00+00:00"
    document["environment"]["versions"]["mlx"] = version
    for row in document["all_results"]:
        row["step_times_s"] = [time_s * slower for time_s in row["step_times_s"]]
    return document


def hostile() -> dict[str, Any]:
    """Markup in every text that a profile may have."""
    document = with_failures()
    document["model"] = HOSTILE
    document["settings"] = {HOSTILE: HOSTILE, "data": HOSTILE}
    document["environment"].update(device=HOSTILE, chip=HOSTILE, versions={HOSTILE: HOSTILE})
    soak = {"outcome": "oom", "error": HOSTILE, "warnings": [HOSTILE], "steps": 1}
    config = {key: document["all_results"][0][key] for key in OPTIMUM}
    document["soak"] = [{**config, **soak, "minutes": 1, "asked_minutes": 1}]
    for row in document["all_results"]:
        row["warnings"] = [HOSTILE]
        row["error"] = row["error"] and HOSTILE
    return document


def full(speed: float) -> dict[str, Any]:
    """Eighty configurations, with as many steps as a sweep has."""
    document: dict[str, Any] = json.loads((DATA / "matrix_h200_llama8b_256.json").read_text())
    document.update(created_at=f"2026-0{round(speed * 3)}-01T12:00:00+00:00", memory_limit_gb=24.0)
    for row in document["all_results"]:
        step_s = row["step_time_ms"] / 1e3 / speed
        row["step_times_s"] = [step_s * (1 + place / 500) for place in range(10)]
        row["warmup_step_times_s"] = [step_s * 30, step_s * 5, step_s * 1.1, step_s, step_s]
        row["predicted_minimum_memory_bytes"] = round(row["minimum_memory_bytes"] * 1.01)
        del row["tokens_per_second"]
    return document


def profiles_of(*documents: dict[str, Any]) -> list[StoredProfile]:
    """As if each document had been read from a file."""
    return [
        each
        for number, document in enumerate(documents)
        for each in profiles_in(document, f"runs/{number}.json")
    ]


def page_of(folder: Path, *documents: dict[str, Any]) -> Path:
    """The file of a page of `documents`."""
    path = folder / "page.html"
    write_page(path, Content(profiles_of(*documents)), "--output")
    return path


def a_soak(config: LoraConfig, outcome: Outcome = Outcome.OK, **others: Any) -> SoakResult:
    """Ten minutes that showed nothing, unless `others` say so."""
    usual: dict[str, Any] = {
        "reason": None if outcome is Outcome.OK else "it was too much",
        "remedy": None,
        "warnings": (),
        "conclusive": True,
        "asked_s": 600.0,
        "duration_s": 601.0,
        "steps": 1234,
        "peak_memory_bytes": 20_900_000_000,
        "trial_peak_memory_bytes": 20_800_000_000,
        "footprint_bytes": 22 * GB,
        "active_growth_bytes_per_step": -1.0,
        "footprint_growth_bytes_per_step": 0.0,
        "slowdown": 1.004,
        "first_tenth_step_time_s": 0.5,
        "last_tenth_step_time_s": 0.502,
        "swap_growth_bytes": 0,
    }
    return SoakResult(config, outcome, **(usual | others))


def a_plan(model: str, configs: tuple[LoraConfig, ...], **others: Any) -> SweepPlan:
    """A sweep through `configs`, of a model of which nothing but the name is known."""
    usual: dict[str, Any] = {
        "source": ModelSource(
            model, {}, None, True, None, tuple({config.lora_keys for config in configs})
        ),
        "configs": configs,
        "steps": StepPlan(),
        "isolation": "model",
        "data": None,
        "recipe": MLX_LM_DEFAULTS,
        "memory_limit_bytes": None,
        "start_timeout_s": 60,
        "settings": SweepSettings(),
        "identity": {},
    }
    return SweepPlan(**(usual | others))
