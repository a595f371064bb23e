"""Stored profiles to compare: a real one, and what becomes of it by planted changes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_yourai.store.stored_profile import StoredProfile, profiles_in

QUICK = Path(__file__).parents[1] / "data" / "h200_llama8b_quick.json"


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
