"""Items behave as pytest's own: -k, -m, --collect-only, -x, --lf, node ids, JUnit, verbosity."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # our own file
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import SweepRun

NODE = "pytest_yourai/suite/test_lora.py::test_lora"


def test_collect_only_lists_ids_and_starts_nothing(sweep: SweepRun) -> None:
    done = sweep("--collect-only", "-q")
    assert [line for line in done.stdout.lines if "::" in line] == [
        f"{NODE}[tiny-batch{batch}-rank4-layers2]" for batch in (1, 2, 4)
    ]
    assert not done.has_profile


def test_ids_say_what_differs_from_the_preset(sweep: SweepRun) -> None:
    done = sweep(
        *("--collect-only", "-q", "--yourai-seq-length", "128"),
        *("--yourai-quantize", "8", "--yourai-grad-checkpoint"),
    )
    assert f"{NODE}[tiny-batch1-rank4-layers2-seq128-q8-ckpt]" in done.text


@pytest.mark.parametrize(
    ("selection", "batches"),
    [
        (("-k", "batch2"), [2]),
        (("-k", "tiny-batch1-rank4-layers2 or batch4"), [1, 4]),
        (("-m", "lora(batch_size=4)"), [4]),
        (("-m", "lora(rank=4, layers=2) and not lora(batch_size=1)"), [2, 4]),
        (("-m", "lora(model='llama-8b')"), []),
    ],
)
def test_selection_by_name_and_mark(
    sweep: SweepRun, selection: tuple[str, str], batches: list[int]
) -> None:
    done = sweep(*selection, "--collect-only", "-q")
    found = [line for line in done.stdout.lines if "::" in line]
    assert found == [f"{NODE}[tiny-batch{batch}-rank4-layers2]" for batch in batches]


def test_a_fraction_is_a_text_in_marks(sweep: SweepRun) -> None:
    done = sweep(
        *("-m", "lora(dropout='0.05', rank=4)", "--collect-only", "-q"),
        *("--yourai-batch-size=1", "--yourai-dropout=0,0.05"),
    )
    found = [line for line in done.stdout.lines if "::" in line]
    assert found == [f"{NODE}[tiny-batch1-rank4-layers2-dropout0.05]"]


@pytest.mark.parametrize(
    ("expression", "endings"),
    [
        ("lora(seq_length=128)", ["-seq128-ckpt", "-seq128"]),
        ("lora(grad_checkpoint=True)", ["-ckpt", "-seq128-ckpt"]),
        ("lora(seq_length=64, grad_checkpoint=False)", [""]),
    ],
)
def test_lengths_and_checkpointing_are_in_ids_and_marks(
    sweep: SweepRun, small_matrix: Path, expression: str, endings: list[str]
) -> None:
    small_matrix.write_text(
        "batch_size: [1]\nlora_rank: [4]\nlora_layers: [2]\n"
        "max_seq_length: [128, 64]\ngrad_checkpoint: [false, true]\n"
    )
    done = sweep("-m", expression, "--collect-only", "-q")
    found = [line for line in done.stdout.lines if "::" in line]
    assert found == [f"{NODE}[tiny-batch1-rank4-layers2{ending}]" for ending in endings]


def test_a_selection_that_ran_is_complete(replayed: SweepRun) -> None:
    done = replayed("-k", "batch2")
    assert done.ret == 0
    assert done.profile["complete"] is True
    done.stdout.fnmatch_lines(["[[]1/1] batch=2, rank=4, layers=2 ... ✓ *"])


def test_a_pasted_node_id_works_from_any_folder(
    pytester: pytest.Pytester, replayed: SweepRun
) -> None:
    pytester.mkdir("elsewhere")
    done = replayed(f"{NODE}[tiny-batch2-rank4-layers2]")
    assert done.ret == 0
    assert [row["batch_size"] for row in done.rows] == [2]


def test_x_does_not_stop_at_a_memory_failure(pytester: pytest.Pytester, sweep: SweepRun) -> None:
    (pytester.path / "m.yaml").write_text(
        "batch_size: [1, 4]\nlora_rank: [4, 64]\nlora_layers: [2]\nlora_keys: qkvo\n"
    )
    done = sweep("-x", "--yourai-max-memory", "0.005", "--yourai-force", matrix="m.yaml")
    assert done.outcomes == ["ok", "over_budget", "ok", "skipped"]
    assert done.ret == 0


def test_lf_runs_what_failed_and_x_stops_there(
    sweep: SweepRun, faulty_worker: Callable[[str], None]
) -> None:
    faulty_worker("fail@measure")
    first = sweep("-x")
    assert first.outcomes == ["ok", "error"]
    assert first.profile["complete"] is False
    assert first.ret == 1
    second = sweep("--lf")
    # The first row is what the first run measured.
    assert [(row["batch_size"], row["kept"]) for row in second.rows] == [(1, True), (2, False)]
    assert second.outcomes == ["ok", "ok"]


def test_junit_carries_outcome_and_memory(pytester: pytest.Pytester, replayed: SweepRun) -> None:
    replayed("--junit-xml", "junit.xml", "-k", "batch1")
    root = ET.parse(pytester.path / "junit.xml").getroot()  # noqa: S314 - our own file
    properties = {str(each.get("name")): str(each.get("value")) for each in root.iter("property")}
    assert properties["yourai_outcome"] == "ok"
    assert int(properties["yourai_minimum_memory_bytes"]) > 1_000_000


def test_verbose_shows_ids_and_our_lines_and_quiet_shows_letters(replayed: SweepRun) -> None:
    verbose = replayed("-v", "--yourai-max-memory", "0.004", "--yourai-force")
    verbose.stdout.fnmatch_lines(
        [
            f"{NODE}[[]tiny-batch1-rank4-layers2] PASSED *",
            "[[]1/3] batch=1, *",
            f"{NODE}[[]tiny-batch4-rank4-layers2] OVER BUDGET *",
            "[[]3/3] batch=4, rank=4, layers=2 ... ✗ over budget: needs * MB; *",
        ]
    )
    quiet = replayed("-q", "--yourai-max-memory", "0.004", "--yourai-force")
    assert quiet.stdout.lines[0].startswith("..B")
    quiet.stdout.fnmatch_lines(["*est configuration that fits", "Saved to: optimal_config.json"])


def test_pytests_own_summary_keeps_its_words(replayed: SweepRun) -> None:
    done = replayed("-rA", "--yourai-max-memory", "0.004", "--yourai-force")
    done.stdout.fnmatch_lines(
        [
            f"PASSED {NODE}[[]tiny-batch1-rank4-layers2]",
            f"OVER BUDGET {NODE}[[]tiny-batch4-rank4-layers2] - *over_budget: needs *",
        ]
    )


def test_a_printed_id_works_from_a_subfolder(
    pytester: pytest.Pytester, replayed: SweepRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\n")
    monkeypatch.chdir(pytester.mkdir("below"))
    done = replayed(
        f"../{NODE}[tiny-batch1-rank4-layers2]",
        *("--yourai-output", "../optimal_config.json"),
        matrix="../small.yaml",
    )
    assert done.ret == 0
    assert done.outcomes == ["ok"]
