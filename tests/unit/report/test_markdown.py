from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.report.markdown import markdown, session_markdown
from pytest_yourai.report.markdown_text import escaped
from pytest_yourai.store.profile_reader import profiles_in, read_profiles

from support.screens import Rendered

DATA = Path(__file__).parents[2] / "data"
QUICK = DATA / "h200_llama8b_quick.json"
WALK = DATA / "h200_benchmark_24gb.json"
BEST = "**Largest: batch=4, rank=128, layers=32**"
HOSTILE = "a|b `c` <b>d</b> [e](http://f) @everyone <!-- g -->\nh"


def document(path: Path = QUICK) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def lines_of(changed: dict[str, Any]) -> list[str]:
    return markdown(profiles_in(changed, "p.json")).splitlines()


def test_the_answer_comes_first_then_where_it_was_measured() -> None:
    lines = markdown(read_profiles(QUICK)).splitlines()
    assert lines[:3] == [
        "## LoRA fine-tuning of llama-8b",
        "",
        (
            f"{BEST} (score 16,384, 594ms a step, 3,440 tokens/s). "
            "Fits: needs 18.9 of 110.0 GB, uses up to 24.5 GB when allowed."
        ),
    ]
    assert lines[4].startswith("**Fastest, leanest: batch=4, rank=64, layers=16** (score 4,096, ")
    text = "\n".join(lines)
    assert "\n- **Machine:** Device NVIDIA H200; MLX backend cuda; " in text
    assert "\n- **Versions:** python 3.12.3; mlx 0.32.4; mlx-lm 0.32.2\n" in text
    assert "\n- **Budget:** 110.0 GB\n- **Settings:** weights synthetic; " in text
    assert "- **Measured:** 2026-11-21 09:08 UTC\n- **Trials:** 12 of 12 configurations\n" in text


def test_rows_come_best_first_then_what_failed_then_what_was_not_run() -> None:
    changed = document()
    rows = changed["all_results"]
    rows[0].update(outcome="skipped", success=False, started=False, error="no smaller")
    rows[5].update(outcome="oom", success=False, error="the allocator refused")
    [header, *cells] = Rendered("\n".join(lines_of(changed))).cells
    assert (
        ", ".join(header)
        == "batch, rank, layers, needs, takes, step, tokens/s, ±, score, answer, outcome"
    )
    scores = [int(row[8].replace(",", "")) for row in cells[:10]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 16384
    assert [row[10] for row in cells] == [
        *["ok"] * 10,
        "oom: the allocator refused",
        "skipped: no smaller",
    ]


def test_the_command_of_each_answer_is_a_line_to_copy() -> None:
    text = markdown(read_profiles(QUICK))
    block = text.partition("```sh\n")[2].partition("\n```\n")[0].splitlines()
    train = f"yourai train --model llama-8b --profile {QUICK} --weights hub --data FOLDER"
    assert block[-4:] == [
        "# largest",
        f"{train} --pick largest",
        "# fastest, leanest",
        f"{train} --pick fastest",
    ]


def test_only_the_optimum_is_marked() -> None:
    marked = [line for line in lines_of(document()) if line.startswith("| **")]
    assert len(marked) == 1
    assert marked[0].startswith("| **4** | **128** | **32** | **18.9 GB** |")


def test_a_run_without_success_says_so_and_why() -> None:
    changed = document()
    for row in changed["all_results"]:
        row.update(outcome="over_budget", success=False, error="needs 99 GB")
    for key in [key for key in changed if key.startswith("optimal_")]:
        changed[key] = None
    lines = lines_of(changed)
    assert lines[2] == "**No configuration fits**"
    assert sum("over_budget: needs 99 GB" in line for line in lines) == 12


def test_an_interrupted_run_says_so() -> None:
    text = "\n".join(lines_of({**document(), "complete": False}))
    assert "UTC, incomplete: the run was interrupted\n" in text


def test_the_models_of_a_walk_are_rows_and_share_what_they_have_in_common() -> None:
    text = markdown(read_profiles(WALK), "r1-distill-14b")
    assert text.startswith(
        "## LoRA fine-tuning: 4 of 5 models fit\n\n"
        "**Recommended: r1-distill-14b** (largest model that fits)\n"
    )
    assert text.count("**Machine:**") == text.count("**Budget:** 24.0 GB") == 1
    [header, *rows] = Rendered(text).cells
    assert header[0] == "model"
    assert [row[0] for row in rows] == [
        "hermes-mistral-7b",
        "dolphin-8b",
        "llama-8b",
        "r1-distill-14b",
        "hermes-70b",
    ]
    assert rows[-1][-1].startswith("over_budget: its weights alone take 39.7 GB")
    assert "###" not in text


def test_a_sweep_among_several_has_a_section_with_what_is_its_own() -> None:
    text = markdown([*read_profiles(QUICK), *read_profiles(WALK)])
    head, _, section = text.partition(f"\n### {escaped(f'llama-8b ({QUICK})')}\n")
    assert f"| {escaped(f'llama-8b ({WALK})')} | 2 | 64 |" in head
    assert "**Budget" not in head
    assert "**Budget:** 110.0 GB" in section
    assert section.count("\n| ") == 13


def test_hostile_text_is_shown_as_text_wherever_it_stands() -> None:
    changed = document()
    changed["model"] = changed["settings"]["data"] = HOSTILE
    changed["environment"] = dict.fromkeys(("chip", "device", "backend", "system"), HOSTILE)
    changed["environment"]["versions"] = {HOSTILE: HOSTILE}
    changed["soak"] = [{"outcome": HOSTILE, "error": HOSTILE, "batch_size": HOSTILE}]
    for row in changed["all_results"]:
        row.update(outcome="error", success=False, error=HOSTILE, warnings=[HOSTILE])
    for text in (markdown(profiles_in(changed, "p.json")), markdown(profiles_in(changed, "p") * 2)):
        rendered = Rendered(text)
        usual = set(Rendered(markdown(read_profiles(QUICK) * 2)).tags)
        assert set(rendered.tags) <= usual
        assert {len(row) for row in rendered.cells} <= {10, 11}
        assert rendered.text.count(HOSTILE.replace("\n", " ")) >= 30


def test_axes_and_missing_minima_have_columns_where_they_say_something() -> None:
    row = {"lora_rank": 8, "lora_layers": 4, "success": True, "error": None, "step_time_ms": 1.0}
    rows = [
        {**row, "batch_size": 1, "max_seq_length": length, "peak_memory_mb": 100.0}
        for length in (64, 128)
    ]
    [header, *_] = Rendered(
        markdown(profiles_in({"model": "m", "all_results": rows}, "p.json"))
    ).cells
    assert (
        ", ".join(header)
        == "batch, rank, layers, seq, takes, step, tokens/s, score, answer, outcome"
    )


def test_a_session_that_looked_at_no_model_says_why() -> None:
    config = LoraConfig(1, 8, 4, 64)
    lost = TrialResult("m", config, Outcome.UNAVAILABLE, "the <model> is gated")
    assert session_markdown([], None, None, [lost, lost]) == (
        "## LoRA fine-tuning: nothing was measured\n\n- unavailable: the \\<model> is gated\n"
    )
    assert session_markdown(read_profiles(QUICK), None, None, []) == markdown(read_profiles(QUICK))
