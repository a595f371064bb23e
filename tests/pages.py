"""Profiles for pages, and the browser that opens them."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Playwright

from pytest_yourai.report.page.render import Content, write_page
from pytest_yourai.store.stored_profile import StoredProfile, profiles_in

DATA = Path(__file__).parent / "data"
HOSTILE = "</script><img src=x onerror=alert(1)>&quot;<b>"
OPTIMUM = ("batch_size", "lora_rank", "lora_layers", "max_seq_length", "grad_checkpoint")

DESKTOP = (1200, 900)
PHONE = (360, 740)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


def quick() -> dict[str, Any]:
    """Twelve configurations of a real sweep, each with a prediction."""
    document: dict[str, Any] = json.loads((DATA / "h200_llama8b_quick.json").read_text())
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
    document["soak"] = [{"outcome": HOSTILE, "error": HOSTILE, "warnings": [HOSTILE]}]
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


@dataclass
class Opened:
    """A page in the browser, and whatever it asked for or complained of."""

    page: Page
    load_s: float
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def launched(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@contextmanager
def opened(
    browser: Browser,
    path: Path,
    size: tuple[int, int] = DESKTOP,
    theme: Literal["light", "dark"] = "light",
) -> Iterator[Opened]:
    """`path` as it is when all is drawn, without a network."""
    width, height = size
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": height}, color_scheme=theme
    )
    found = Opened(context.new_page(), 0.0)
    page = found.page
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda problem: found.complaints.append(str(problem)))
    page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: found.requests.append(request.url))
    start = time.perf_counter()
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]")
    found.load_s = time.perf_counter() - start
    try:
        yield found
    finally:
        context.close()
