"""The files that a run writes at its end, each with the line that says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.files import check_writable, write_atomically, write_json
from pytest_yourai.plan.options import OutputOptions
from pytest_yourai.plan.stages import RunPlan
from pytest_yourai.report.markdown import MARKDOWN_FLAG, session_markdown
from pytest_yourai.report.markdown_text import cut
from pytest_yourai.report.page.render import REPORT_FLAG, Content, check_plotly, write_page
from pytest_yourai.store import profile
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.mlx_lm_config import LORA_CONFIG_FLAG
from pytest_yourai.store.stored_profile import parse_written
from pytest_yourai.sweep.run_results import RunResults


@dataclass(frozen=True)
class ClosingLine:
    """What is said of a file; `is_failure` where it should have been written and was not."""

    text: str
    is_failure: bool = False
    saves_profile: bool = False


def check_closing_files(options: OutputOptions) -> None:
    """Raise an InputError now where a file could not be written after the last trial."""
    check_writable(options.profile, profile.OUTPUT_FLAG)
    if options.lora_config is not None:
        check_writable(options.lora_config, LORA_CONFIG_FLAG)
    if options.report is not None:
        check_plotly(REPORT_FLAG)
        check_writable(options.report, REPORT_FLAG)
    if options.markdown is not None:
        check_writable(options.markdown, MARKDOWN_FLAG)


def write_closing_files(
    setup: RunPlan,
    collected: RunResults,
    document: Mapping[str, Any],
    compared: BaselineComparison | None,
    shown: Callable[[Path], str],
) -> Iterator[ClosingLine]:
    """Write what was asked for of `document`, the profile; `shown` is how a path is printed.

    `compared` is what came of it beside its baseline, where there is one.
    """
    options = setup.output
    try:
        write_json(options.profile, document, profile.OUTPUT_FLAG)
        yield ClosingLine(f"Saved to: {shown(options.profile)}", saves_profile=True)
    except OutputError as problem:
        yield ClosingLine(f"Not saved: {problem}", is_failure=True)
        if collected.journal_problem is None:
            yield ClosingLine(f"The journal has it all: {options.log}")
    if options.lora_config is not None:
        yield _lora_config(options.lora_config, collected, shown)
    if options.report is not None:
        yield _report(options.report, setup, document, shown)
    summary = step_summary(os.environ)
    if options.markdown is None and summary is None:
        return
    text = session_markdown(document, options.profile.name, collected.results, compared)
    if options.markdown is not None:
        yield _markdown(options.markdown, text, shown)
    if summary is not None and (said := append_to_step_summary(summary, text)):
        yield ClosingLine(said)


def _lora_config(path: Path, collected: RunResults, shown: Callable[[Path], str]) -> ClosingLine:
    text = collected.lora_config(path.name)
    if text is None:
        return ClosingLine("LoRA config: not written, no optimum was found")
    try:
        write_atomically(path, text, LORA_CONFIG_FLAG)
    except OutputError as problem:
        return ClosingLine(f"LoRA config: {problem}", is_failure=True)
    return ClosingLine(f"LoRA config: {shown(path)}")


def _report(
    path: Path, setup: RunPlan, document: Mapping[str, Any], shown: Callable[[Path], str]
) -> ClosingLine:
    try:
        measured = parse_written(document, shown(setup.output.profile))
        models = {each.model for each in measured}
        earlier = [each for each in setup.baseline if each.model in models]
        content = Content([*earlier, *measured], gate=setup.output.thresholds)
        write_page(path, content, REPORT_FLAG)
    except RecordingError:
        return ClosingLine("Page: not written, nothing was tried")
    except OutputError as problem:
        return ClosingLine(f"Page: {problem}", is_failure=True)
    return ClosingLine(f"Page: {shown(path)}")


def _markdown(path: Path, text: str, shown: Callable[[Path], str]) -> ClosingLine:
    try:
        write_atomically(path, text, MARKDOWN_FLAG)
    except OutputError as problem:
        return ClosingLine(f"Markdown: {problem}", is_failure=True)
    return ClosingLine(f"Markdown: {shown(path)}")


MOST_BYTES = 1 << 20
"""Of all that one step appends: GitHub shows nothing of a step that wrote more."""

_LIMIT = "GitHub shows 1 MiB of a step"

_VARIABLE = "GITHUB_STEP_SUMMARY"


def step_summary(environment: Mapping[str, str]) -> Path | None:
    """Where the summary of the job goes; None outside of one."""
    name = environment.get(_VARIABLE)
    return Path(name) if name else None


def append_to_step_summary(path: Path, text: str) -> str | None:
    """Append `text`, cut where it is too long; what to say of it, None where it is all there.

    What goes wrong here is said, and nothing more comes of it: the job is about something else.
    """
    try:
        used_bytes = path.stat().st_size if path.exists() else 0
        fitting = cut(text, MOST_BYTES - used_bytes, f"{_LIMIT}.")
        with path.open("ab") as file:
            file.write(fitting.encode())
    except OSError as problem:
        return f"Summary of the job: {path} cannot be written: {problem.strerror}"
    return None if fitting == text else f"Summary of the job: cut, {_LIMIT}"
