"""Profiles in GitHub's Markdown: to be pasted, and for the summary of a CI job."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.sanitize import clean
from pytest_yourai.core.units import seconds
from pytest_yourai.report.answer_lines import AnswerTitles, beaten_note, fits_sentence
from pytest_yourai.report.comparison_lines import (
    TITLES,
    ComparedAmounts,
    comparison_facts,
    outcome_change,
    regression_count,
)
from pytest_yourai.report.markdown_text import escaped, table
from pytest_yourai.report.profile_facts import about
from pytest_yourai.report.tables import columns, label, noise_notes, outcome, ranked_rows
from pytest_yourai.report.training_commands import TrainingCommand, training_commands
from pytest_yourai.report.trial_lines import none_fits
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.compare.comparison import Change, Metric
from pytest_yourai.store.compare.noise import changes_within_noise
from pytest_yourai.store.compare.thresholds import not_compared
from pytest_yourai.store.stored_profile import StoredProfile

MARKDOWN_FLAG = "--yourai-markdown"
"""The flag that names the file."""


def markdown(
    profiles: Sequence[StoredProfile],
    recommended: str | None = None,
    compared: BaselineComparison | None = None,
) -> str:
    """The text of a file: the answer, where it was measured, what changed, and all rows.

    `recommended` is the recommended one of several models, if known. Rows come best first.
    """
    changed = [] if compared is None else list(comparison_section(compared))
    if len(profiles) == 1:
        lines = _of_one(profiles[0], changed)
    else:
        lines = _of_several(profiles, recommended, changed)
    return "".join(f"{line}\n" for line in lines)


def session_markdown(
    profiles: Sequence[StoredProfile],
    recommended: str | None,
    compared: BaselineComparison | None,
    results: Iterable[TrialResult],
) -> str:
    """The Markdown of a session; without `profiles` the reasons in its `results`."""
    if profiles:
        return markdown(profiles, recommended, compared)
    reasons = dict.fromkeys(escaped(clean(outcome(each))) for each in results)
    title = "## LoRA fine-tuning: nothing was measured"
    return "\n".join([title, "", *(f"- {each}" for each in reasons)]) + "\n"


def _of_one(profile: StoredProfile, changed: Sequence[str]) -> Iterator[str]:
    yield f"## LoRA fine-tuning of {escaped(profile.model)}"
    yield ""
    yield from _answer(profile)
    yield from _bullets(list(about(profile)))
    yield from changed
    if changed:
        yield "### All configurations"
        yield ""
    yield from _rows(profile)


def _of_several(
    profiles: Sequence[StoredProfile], recommended: str | None, changed: Sequence[str]
) -> Iterator[str]:
    fitting = sum(profile.optimum is not None for profile in profiles)
    yield f"## LoRA fine-tuning: {fitting} of {len(profiles)} models fit"
    yield ""
    if recommended is not None:
        yield f"**Recommended: {escaped(recommended)}** (largest model that fits)"
        yield ""
    facts = [list(about(profile)) for profile in profiles]
    shared = [fact for fact in facts[0] if all(fact in others for others in facts)]
    yield from _bullets(shared)
    yield from _models(profiles)
    yield ""
    yield from changed
    for profile, own in zip(profiles, facts, strict=True):
        if len(profile.results) > 1:
            yield f"### {escaped(label(profile, profiles))}"
            yield ""
            yield from _answer(profile)
            yield from _bullets([fact for fact in own if fact not in shared])
            yield from _rows(profile)
            yield ""


def _models(profiles: Sequence[StoredProfile]) -> Iterator[str]:
    """A row for each model: its optimum, or else how the first of its trials failed."""
    shown = columns(profiles)
    rows = []
    for profile in profiles:
        first = ranked_rows(profile)[0]
        cells = [label(profile, profiles), *(column.cell(first) for column in shown)]
        rows.append(list(map(escaped, cells)))
    headings = ["model", *(column.heading for column in shown)]
    yield from table(headings, rows, [False, *(column.is_number for column in shown)])


def _rows(profile: StoredProfile) -> Iterator[str]:
    shown = columns([profile])
    rows = []
    for result in ranked_rows(profile):
        mark = "**" if result is profile.headline else ""
        rows.append([f"{mark}{escaped(column.cell(result))}{mark}" for column in shown])
    headings = [column.heading for column in shown]
    yield from table(headings, rows, [column.is_number for column in shown])
    for note in noise_notes(list(profile.results.values())):
        yield ""
        yield escaped(note)


def _answer(profile: StoredProfile) -> Iterator[str]:
    commands = training_commands(profile)
    if not commands:
        found = none_fits(profile.results.values(), has_soaks=bool(profile.soaks))
        yield f"**{found}**"
        yield ""
    titles = AnswerTitles(list(profile.results.values()), profile.objective)
    for each in commands:
        result = each.result
        name = profile.naming.name(result.config)
        measures = ", ".join(_measures(result))
        fits = fits_sentence(result, has_minimum=profile.has_minima)
        yield f"**{titles.of(each.names)}: {name}** ({measures}). {escaped(fits)}"
        yield ""
    note = profile.headline and beaten_note(profile.headline, profile.remaining, profile.naming)
    if note:
        yield escaped(note)
        yield ""
    yield from _commands(commands)


def _commands(commands: Sequence[TrainingCommand]) -> Iterator[str]:
    """How to train with each answer, as a block to copy from."""
    if not commands:
        return
    yield "```sh"
    yield from (f"# {note}" for note in commands[0].notes)
    for each in commands:
        yield f"# {', '.join(each.names)}"
        yield each.text
    yield "```"
    yield ""


def _measures(result: TrialResult) -> Iterator[str]:
    yield f"score {result.config.throughput_score:,}"
    if result.step_time_s is not None:
        yield f"{seconds(result.step_time_s)} a step"
    if result.update_time_s is not None and result.config.grad_accumulation_steps > 1:
        yield f"{seconds(result.update_time_s)} an update"
    if result.tokens_per_second is not None:
        yield f"{result.tokens_per_second:,.0f} tokens/s"


def _bullets(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, text in facts:
        yield f"- **{name}:** {escaped(text)}"
    if facts:
        yield ""


def comparison_section(compared: BaselineComparison) -> Iterator[str]:
    """All models of it, each under a heading of its own."""
    for each in compared.comparisons:
        title, *facts = comparison_facts(each, list(not_compared(each, compared.gate)))
        yield f"### {escaped(title)}"
        yield ""
        found = compared.regressions(each)
        if (reason := each.not_comparable) is not None:
            yield f"**Not comparable:** {escaped(reason)}"
        else:
            yield f"**{regression_count(found)}** ({escaped(str(compared.gate))})"
        yield ""
        yield from (f"- **Worse:** {escaped(worse.text)}" for worse in found)
        yield from (f"- {escaped(str(verdict))}" for verdict in compared.verdicts_of(each))
        yield from (f"- {escaped(fact)}" for fact in facts)
        yield ""
        noisy = changes_within_noise(each)
        amounts = ComparedAmounts(each)
        yield from table(
            ["configuration: old / new / change", *TITLES.values(), "outcome"],
            [_cells(amounts, change, noisy) for change in each.changes],
            [False, *(True for _ in TITLES), False],
        )
        yield ""


def _cells(amounts: ComparedAmounts, change: Change, noisy: Container[LoraConfig]) -> list[str]:
    name = amounts.comparison.naming.name(change.config)
    values = (" / ".join(amounts.of(change, metric)) for metric in Metric)
    return [escaped(each) for each in (name, *values, outcome_change(change, noisy))]
