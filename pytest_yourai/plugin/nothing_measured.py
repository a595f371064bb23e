"""Nothing measured is not success: the exit status, and what kept the trials from running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence

import pytest

from pytest_yourai.core.axes import AXES, value_text
from pytest_yourai.core.shell import pytest_line
from pytest_yourai.plugin import command_line
from pytest_yourai.plugin.failed_fixtures import WHAT_TO_DO
from pytest_yourai.plugin.terminal import Terminal
from pytest_yourai.sweep.reports import PROPERTY

_MARK = "lora"
"""Set on each item of a configuration, by which its reports are known."""

_WITHOUT_MISTAKE = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)
"""Others have a reason of their own: a mistake in what was asked for, or an interruption."""


class NothingMeasured:
    """Registered in the process that the user started, if a flag asks for a measurement."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal = Terminal(config)
        self._is_asked = not config.option.collectonly
        self._has_run = False
        self._has_measured = False
        self._ended: set[str] = set()
        self._deselected: list[pytest.Item] = []
        self._reasons: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        self._has_run = self._is_asked
        return (yield)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected += filter(_is_of_trial, items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if any(name == PROPERTY for name, _ in report.user_properties):
            self._has_measured = True
        elif _MARK in report.keywords:
            self._ended.add(report.nodeid)
            if report.skipped or report.failed:
                self._reasons[_reason(report)] += 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        # Last: pytest-testmon makes a success of a run without tests.
        try:
            return (yield)
        finally:
            self._set_status(session)

    def _set_status(self, session: pytest.Session) -> None:
        if self._is_to_report and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, exitstatus: int) -> None:
        if self._is_to_report and exitstatus in _WITHOUT_MISTAKE:
            self._terminal.print_lines(f"Nothing was measured: {self._why()}")
            words = [] if self._ended else _words_in_names(self._deselected)
            if words:
                self._terminal.print_lines(f"What -k can select by: {', '.join(words)}")

    @property
    def _is_to_report(self) -> bool:
        return self._has_run and not self._has_measured

    def _why(self) -> str:
        if self._reasons:
            [(reason, count)] = self._reasons.most_common(1)
            return f"{count} of {len(self._ended)} items ended so: {reason}"
        if self._ended:
            return (
                f"{_all(len(self._ended), 'item')} only set up, or called by another plugin: leave "
                "out --setup-only, --setup-plan, or that plugin (-p no:NAME)"
            )
        if self._deselected:
            return (
                f"{_all(len(self._deselected), 'configuration')} deselected: change -k, -m, "
                "--deselect or --lf, or the plugin or conftest.py that did it; addopts in the ini "
                "file count, too"
            )
        return (
            "no configuration was collected: leave out the paths, --ignore or collect_ignore that "
            "hide the packaged test"
        )


class HowToSweep:
    """Registered if the ini file alone names a model: it measures nothing by itself."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._has_trials = True
        self._has_deselected = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._has_trials = any(map(_is_of_trial, session.items))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._has_deselected = self._has_deselected or any(map(_is_of_trial, items))

    def pytest_terminal_summary(self) -> None:
        if not (self._has_trials or self._has_deselected):
            file = self._config.inipath
            command = pytest_line(*command_line.starting_flags(self._config))
            Terminal(self._config).print_unless_quiet(
                f"{file.name if file else 'The ini file'} names what to measure, for tests that "
                f"take `trial`; to sweep: {command}"
            )


def _all(count: int, noun: str) -> str:
    """`the one item was`, `both items were`, `all 12 items were`."""
    many = "both" if count == 2 else f"all {count:,}"  # noqa: PLR2004 - a word for two
    return f"the one {noun} was" if count == 1 else f"{many} {noun}s were"


def _words_in_names(items: Sequence[pytest.Item]) -> list[str]:
    """The parts of item ids that stand for values of axes, in the order of axes and values."""
    marked = [(item, item.get_closest_marker(_MARK)) for item in items if _has_name(item)]
    words = dict[str, None]()
    for axis in AXES:
        of_axis = {
            (
                mark.kwargs[axis.argument],
                axis.id_form.format(value_text(mark.kwargs[axis.argument])),
            )
            for item, mark in marked
            if mark is not None and axis.argument in mark.kwargs
        }
        words |= dict.fromkeys(word for _, word in sorted(of_axis, key=_type_first))
    in_ids = {part for item, _ in marked for part in item.name.partition("[")[2][:-1].split("-")}
    return [word for word in words if word in in_ids]


def _type_first(each: tuple[object, str]) -> tuple[str, tuple[object, str]]:
    """A key that sorts numbers beside words: all layers are a word."""
    return type(each[0]).__name__, each


def _has_name(item: object) -> bool:
    return isinstance(item, pytest.Item)


def _is_of_trial(item: pytest.Item) -> bool:
    """True for an item of a configuration; pytest-testmon has no items of what it leaves out."""
    return not isinstance(item, pytest.Item) or item.get_closest_marker(_MARK) is not None


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    if remedy := dict(report.sections).get(WHAT_TO_DO):
        return remedy
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr or report.outcome)
    return str(text).strip().splitlines()[0] if str(text).strip() else report.outcome
