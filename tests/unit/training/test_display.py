from __future__ import annotations

import io
import os
import re
from typing import IO

import pytest

from pytest_yourai.training import display as display_module
from pytest_yourai.training.display import TrainingDisplay
from pytest_yourai.training.memory_trend import MemoryTrend
from pytest_yourai.worker.protocol import Saved, SkippedBatch, Validated

from support.training import GB, a_step

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
ERASED_LINE = "\x1b[2K"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def train(
    stream: IO[str],
    *,
    steps: int = 500,
    total: int = 500,
    first: int = 1,
    limit_bytes: int | None = 20 * GB,
) -> None:
    trend = MemoryTrend(footprint_counts=True)
    with TrainingDisplay(total, first, limit_bytes, 100, stream) as display:
        for number in range(first, steps + 1):
            step = a_step(number, active_memory_bytes=5 * GB + number * 2_000_000)
            trend.warning(step)
            display.step(step, trend)
            if number == 150:
                display.validated(Validated(150, 1.25, 30.0))
                display.saved(Saved(150))
                display.print_line("[bold]reload[/bold] of \x1b[31mm/\u202edel\nbecause")


def plain(**changes: int) -> list[str]:
    stream = io.StringIO()
    train(stream, **changes)
    return stream.getvalue().splitlines()


def test_elsewhere_than_on_a_terminal_there_are_plain_lines() -> None:
    speed = "loss 2.000, 2,000 tokens/s, 100ms/step"
    memory = "peak 15.0 GB, cache 200.0 MB, footprint 17.0 GB"
    assert plain() == [
        f"step 100/500: {speed}, active 5.2 GB (+2.0 MB a step), {memory}, 40 s left",
        "validated after step 150: loss 1.250 (30.0s)",
        "[bold]reload[/bold] of m/?del",
        "because",
        # 0.3 s more a step of the last hundred, for validation.
        f"step 200/500: {speed}, active 5.4 GB (+2.0 MB a step), {memory}, 2 min left",
        f"step 300/500: {speed}, active 5.6 GB (+2.0 MB a step), {memory}, 20 s left",
        f"step 400/500: {speed}, active 5.8 GB (+2.0 MB a step), {memory}, 10 s left",
        f"step 500/500: {speed}, active 6.0 GB (+2.0 MB a step), {memory}",
    ]


def test_a_log_says_for_how_long_a_step_compiles() -> None:
    stream = io.StringIO()
    with TrainingDisplay(500, 1, None, 100, stream) as display:
        for number in (1, 2):
            for elapsed_s in (1.0, 31.0, 33.0):
                display.compiling(elapsed_s, 900.0)
            display.step(a_step(number), MemoryTrend(footprint_counts=True))
    assert stream.getvalue() == "compiling, 0:31 of at most 15:00\n" * 2


def test_a_terminal_shows_it_until_the_step_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(display_module, "DRAWN_EVERY_S", 0.0)
    with TrainingDisplay(500, 1, 20 * GB, 100, stream) as display:
        display.compiling(31.0, 900.0)
        assert "compiling, 0:31 of at most 15:00" in stream.getvalue()
        before = len(stream.getvalue())
        display.step(a_step(1), MemoryTrend(footprint_counts=True))
        assert "compiling" not in stream.getvalue()[before:]


def test_a_report_is_of_the_steps_since_the_one_before() -> None:
    stream = io.StringIO()
    trend = MemoryTrend(footprint_counts=True)
    with TrainingDisplay(7, 3, None, 2, stream) as display:
        for number, time_s in ((3, 1.0), (4, 3.0), (5, 2.0), (6, 2.0), (7, 4.0)):
            peak = (20 - number) * GB
            step = a_step(
                number,
                loss=float(number),
                step_time_s=time_s,
                peak_memory_bytes=peak,
                footprint_bytes=None,
            )
            display.step(step, trend)
    rest = "active 5.0 GB, peak {} GB, cache 200.0 MB"
    assert stream.getvalue().splitlines() == [
        f"step 4/7: loss 3.500, 100 tokens/s, 2.0s/step, {rest.format('17.0')}, 6 s left",
        f"step 6/7: loss 5.500, 100 tokens/s, 2.0s/step, {rest.format('15.0')}, 2 s left",
        f"step 7/7: loss 7.000, 50 tokens/s, 4.0s/step, {rest.format('13.0')}",
    ]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    train(stream)
    assert stream.getvalue().splitlines() == plain()


def lines_in(text: str) -> list[str]:
    """Lines as they stood on the terminal one after the other, without colors."""
    return CONTROL.sub("", text.replace(ERASED_LINE, "\n")).splitlines()


def shown(columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    train(stream, steps=330)
    return stream.getvalue()


def test_a_terminal_gets_a_bar_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(100, monkeypatch)
    lines = lines_in(text)
    assert re.fullmatch(r"step 330/500 [━╸╺]+ 17 s left", lines[-3])
    assert lines[-2].rstrip() == "loss 2.000, 2,000 tokens/s, 100ms/step"
    assert re.fullmatch(r"active 5.7 GB, peak 15.0 GB [━╸╺]+ 75% of 20.0 GB", lines[-1])
    for line in (
        "validated after step 150: loss 1.250 (30.0s)",
        "saved after step 150",
        "[bold]reload[/bold] of m/?del",
        "because",
    ):
        assert line in lines
    assert any(line.startswith("step 300/500: loss 2.000, ") for line in lines)
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_it_fits_into_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_in(shown(40, monkeypatch))
    assert re.fullmatch(r"step 330/500 [━╸╺]+ 17 s left", lines[-3])
    assert re.fullmatch(r"active 5.7 GB, peak 15.0 GB [━╸╺]+ +75%", lines[-1])
    assert all(len(line) <= 40 for line in lines[-3:])


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[[0-9;]*m", shown(80, monkeypatch))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*m", shown(80, monkeypatch))


def test_without_a_limit_nothing_is_compared_with_it() -> None:
    stream = Terminal()
    train(stream, steps=3, limit_bytes=None)
    assert lines_in(stream.getvalue())[-1].rstrip().endswith("peak 15.0 GB")


def test_an_exception_leaves_a_usable_terminal() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), TrainingDisplay(9, 1, None, 1, stream):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_training_goes_on_where_nobody_reads(*, is_terminal: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
        train(stream)
    closed = Terminal() if is_terminal else io.StringIO()
    closed.close()
    train(closed)


def test_a_full_disk_may_have_room_again() -> None:
    class Full(io.StringIO):
        lines_left = 1

        def write(self, text: str) -> int:
            self.lines_left -= 1
            if self.lines_left == 0:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    train(stream)
    assert stream.getvalue().splitlines() == plain()[1:]


def test_what_the_encoding_lacks_is_a_question_mark() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with TrainingDisplay(9, 1, None, 1, stream) as display:
        display.print_line("4 × 8 \udc80")
    assert raw.getvalue() == b"4 ? 8 ?\n"


def test_secrets_are_taken_out() -> None:
    stream = io.StringIO()
    with TrainingDisplay(9, 1, None, 1, stream) as display:
        display.print_line("hf_" + "x" * 30)
    assert stream.getvalue() == "***\n"


def test_a_validation_is_shown_beside_the_lowest_loss() -> None:
    stream = io.StringIO()
    with TrainingDisplay(20, 1, None, 5, stream) as display:
        display.validated(Validated(5, 2.0, 0.5, 5, 2.0))
        display.validated(Validated(10, 2.5, 0.5, 5, 2.0))
    assert stream.getvalue().splitlines() == [
        "validated after step 5: loss 2.000, the lowest so far (500ms)",
        "validated after step 10: loss 2.500, the lowest is 2.000 after step 5 (500ms)",
    ]


def test_a_skipped_batch_has_a_line_and_no_part_in_the_loss() -> None:
    stream = io.StringIO()
    trend = MemoryTrend(footprint_counts=True)
    with TrainingDisplay(3, 1, None, 3, stream) as display:
        display.step(a_step(1), trend)
        display.skipped(SkippedBatch(2, float("nan"), 1), 10)
        display.step(a_step(3), trend)
    skipped, report = stream.getvalue().splitlines()
    assert skipped == "skipped the batch of step 2: its loss was nan (1 of at most 10 to skip)"
    assert report.startswith("step 3/3: loss 2.000, ")
