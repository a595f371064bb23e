"""Files that a session writes at its end, and the lines about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.files import check_writable
from pytest_yourai.core.keeping import HTML_COMMENT, YAML_COMMENT, write_sealed
from pytest_yourai.core.opening import open_regular
from pytest_yourai.plan.options import Options
from pytest_yourai.plan.stages import RunPlan
from pytest_yourai.report.markdown import MARKDOWN_FLAG, session_markdown
from pytest_yourai.report.markdown_text import cut
from pytest_yourai.report.page.render import REPORT_FLAG, Content, check_page_name, page
from pytest_yourai.report.saved_profile import OutputLine, save_profile
from pytest_yourai.store import profile
from pytest_yourai.store.compare.baseline import BaselineComparison
from pytest_yourai.store.mlx_lm_config import LORA_CONFIG_FLAG
from pytest_yourai.store.profile_reader import parse_written
from pytest_yourai.store.recipe_writing import check_rewritable
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.sweep.run_results import RunResults


@dataclass(frozen=True)
class SessionOutput:
    """All that a session wrote and compared at its end.

    `comparison` is None without a baseline, or if that cannot be compared: `compare_problem` then
    says why.
    """

    files: tuple[OutputLine, ...]
    comparison: BaselineComparison | None
    compare_problem: str | None

    @property
    def has_regressed(self) -> bool:
        """True if the session must fail for its comparison."""
        regressed = self.comparison is not None and self.comparison.fails
        return regressed or self.compare_problem is not None

    @property
    def has_failed_to_write(self) -> bool:
        """True if a file could not be written."""
        return any(each.is_failure for each in self.files)

    @property
    def is_saved(self) -> bool:
        """True if the profile was written."""
        return any(each.saves_profile for each in self.files)

    @property
    def lines(self) -> list[str]:
        """Lines about the comparison and each file."""
        problems = [f"Not compared: {self.compare_problem}"] if self.compare_problem else []
        return problems + [each.text for each in self.files]


def check_output_files(options: Options) -> None:
    """Raise an InputError if a file could not be written after the last trial."""
    check_writable(options.output, profile.OUTPUT_FLAG)
    if options.report is not None:
        check_page_name(options.report, REPORT_FLAG)
    for _, path, flag in _text_files(options):
        check_writable(path, flag)
    if options.lora_config is not None and options.recipe_file is not None:
        check_rewritable(options.recipe_file.path, options.recipe_file.text)


def _text_files(options: Options) -> Iterator[tuple[str, Path, str]]:
    """Label, path and flag of each file of text that the options name."""
    for label, path, flag in (
        ("LoRA config", options.lora_config, LORA_CONFIG_FLAG),
        ("Page", options.report, REPORT_FLAG),
        ("Markdown", options.markdown, MARKDOWN_FLAG),
    ):
        if path is not None:
            yield label, path, flag


_LACKS = {LORA_CONFIG_FLAG: "no optimum was found", REPORT_FLAG: "nothing was tried"}
"""Why a file may have no text."""


def write_session(
    plan: RunPlan, results: RunResults, shown_path: Callable[[Path], str]
) -> SessionOutput:
    """Compare the results with the baseline, and write all files that the options name."""
    options = plan.options
    comparison, problem = _compare(plan, results, shown_path(options.output))
    saved = save_profile(plan, results, shown_path)
    document, files = saved.document, list(saved.lines)
    profiles = _parsed(document, shown_path(options.output))

    def markdown() -> str:
        best = document.get("recommended")
        return session_markdown(profiles, best, comparison, results.results)

    texts: dict[str, Callable[[Path], str | None]] = {
        LORA_CONFIG_FLAG: lambda path: results.lora_config(shown_path(path)),
        REPORT_FLAG: lambda _: page(_content(plan, profiles)) if profiles else None,
        MARKDOWN_FLAG: lambda _: markdown(),
    }
    for label, path, flag in _text_files(options):
        text = texts[flag](path)
        try:
            if text is None:
                files.append(OutputLine(f"{label}: not written, {_LACKS[flag]}"))
                continue
            comment = YAML_COMMENT if flag == LORA_CONFIG_FLAG else HTML_COMMENT
            kept = write_sealed(path, text, flag, comment)
            files.append(OutputLine(f"{label}: {shown_path(path)}"))
            if kept is not None:
                files.append(OutputLine(f"Kept as {shown_path(kept)}: what was there before"))
        except OutputError as failure:
            files.append(OutputLine(f"{label}: {failure}", is_failure=True))
    summary = step_summary(os.environ)
    if summary is not None and (line := append_to_step_summary(summary, markdown())):
        files.append(OutputLine(line))
    return SessionOutput(tuple(files), comparison, problem)


def _parsed(document: Mapping[str, Any], name: str) -> list[StoredProfile]:
    """The profiles in a document that is to be written; none if nothing was tried."""
    try:
        return parse_written(document, name)
    except RecordingError:
        return []


def _content(plan: RunPlan, profiles: Sequence[StoredProfile]) -> Content:
    """The profiles, after those of the baseline that are of their models."""
    models = {each.model for each in profiles}
    earlier = [each for each in plan.baseline if each.model in models]
    return Content([*earlier, *profiles], gate=plan.options.thresholds)


def _compare(
    plan: RunPlan, results: RunResults, name: str
) -> tuple[BaselineComparison | None, str | None]:
    """The comparison of this run alone with the baseline, or why there is none."""
    if not plan.baseline:
        return None, None
    profiles = _parsed(results.document(), name)
    if not profiles:
        return None, "nothing was tried"
    try:
        gate = plan.options.thresholds
        return BaselineComparison.of(plan.baseline, profiles, gate, results.verdicts), None
    except RecordingError as problem:
        return None, str(problem)


MOST_BYTES = 1 << 20
"""The limit of what one step appends: GitHub shows nothing of a step that wrote more."""

_LIMIT = "GitHub shows 1 MiB of a step"

_VARIABLE = "GITHUB_STEP_SUMMARY"


def step_summary(environment: Mapping[str, str]) -> Path | None:
    """The file of the job summary; None outside of a GitHub job."""
    name = environment.get(_VARIABLE)
    return Path(name) if name else None


def append_to_step_summary(path: Path, text: str) -> str | None:
    """Append `text`, cut if it is too long; the line about it, None if all was appended.

    A failure gets a line and no more: the job is not about its summary.
    """
    try:
        fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(fd, "ab") as file:
            fitting = cut(text, MOST_BYTES - os.fstat(fd).st_size, f"{_LIMIT}.")
            file.write(fitting.encode())
    except OSError as problem:
        return f"Summary of the job: {path} cannot be written: {problem.strerror}"
    return None if fitting == text else f"Summary of the job: cut, {_LIMIT}"
