"""The documentation says what the program does."""

import re
from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan.flag_types import FlagGroup
from pytest_yourai.plan.flags import FLAGS, GROUPS
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import configuration_lines
from pytest_yourai.training.options import TRAIN_OPTIONS

DOCS = Path(__file__).parents[3] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def rows_under(name: str, heading: str) -> list[list[str]]:
    """The cells of the table rows under a heading of a page, the table's header left out."""
    section = re.split(rf"(?m)^#+ {heading}$", page(name))[1]
    section = re.split(r"(?m)^#+ ", section)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    split = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]
    return split[2:]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.title)
def test_the_flags_are_those_of_the_program(group: FlagGroup) -> None:
    rows = rows_under("reference/flags", group.title)
    assert [(row[0], *row[2:]) for row in rows] == [
        (
            f"`{flag.option} {flag.metavar}`" if flag.metavar else f"`{flag.option}`",
            flag.help,
            flag.default or "–",
        )
        for flag in group.flags
    ]
    assert all(
        f"`{each}`" in row[1]
        for row, flag in zip(rows, group.flags, strict=True)
        for each in flag.aliases
    )


def test_the_flags_of_training_are_those_of_the_program() -> None:
    assert rows_under("reference/train-options", "Options of `yourai train`") == [
        [
            ", ".join(f"`{part}`" for part in each.shown.split(", ")),
            each.help,
            each.shown_default or "–",
        ]
        for each in TRAIN_OPTIONS.values()
    ]


def test_help_has_every_flag_with_its_default(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So wide that nothing is wrapped: pytest 9.0 breaks words at hyphens.
    monkeypatch.setenv("COLUMNS", "1000")
    lines = pytester.runpytest_inprocess("--help").stdout.str().splitlines()
    text = " ".join(" ".join(lines).split())
    for group in GROUPS:
        assert f" yourai: {group.title.lower()}: {group.flags[0].option}" in text
    for flag in FLAGS:
        start = re.compile(f"  {flag.option}[= ]|  {flag.option}$")
        assert len([line for line in lines if start.match(line)]) == 1
        assert flag.help in text
        assert f"{flag.key} (string)" not in text
        if flag.default:
            assert f"{flag.help} (default: {flag.default})" in text


def test_the_presets_are_those_of_the_program() -> None:
    presets = read_presets(packaged_models())
    rows = rows_under("reference/models", "Presets")
    assert [row[0] for row in rows] == [f"`{name}`" for name in presets]


def test_the_outcomes_are_those_of_the_program() -> None:
    outcomes = [f"`{outcome}`" for outcome in Outcome]
    assert [row[0] for row in rows_under("reference/outcomes", "Outcomes")] == outcomes


def test_each_outcome_but_success_has_a_remedy() -> None:
    outcomes = [f"`{outcome}`" for outcome in Outcome if outcome is not Outcome.OK]
    section = page("troubleshooting").partition("## By outcome")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^### (.*)$", section) == outcomes


def test_the_sample_ends_as_the_program_does() -> None:
    sample = page("start").partition("```console\n")[2].partition("```")[0]
    configs = [LoraConfig(size, rank, 2, 64) for size in (1, 2) for rank in (4, 8)]
    results = [
        TrialResult("tiny", config, Outcome.OK, step_times_s=(1.0,) * 3, step_tokens=(63,) * 3)
        for config in configs
    ]
    lines = configuration_lines(
        results, Objective.SCORE, ConfigLabels.of(configs), TerminalSize(), 0
    )
    title, columns, *_, unbeaten, fastest, _ = lines
    assert f"\n{title}\n" in sample
    assert columns.split() in [line.split() for line in sample.splitlines()]
    assert f"\n{unbeaten}\n{fastest}\n" in sample
