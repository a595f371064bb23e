"""The table of the configurations that fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pytest_yourai.core.config import LoraConfig, Objective
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.report.screen import TerminalSize
from pytest_yourai.report.summary import configuration_lines

SCORE = Objective.SCORE


def result(config: LoraConfig, step_s: float, need: int) -> TrialResult:
    return TrialResult(
        "m",
        config,
        Outcome.OK,
        step_times_s=(step_s,),
        step_tokens=(config.batch_size * (config.max_seq_length - 1),),
        minimum_memory_bytes=need,
        peak_memory_bytes=2 * need,
    )


ONE = result(LoraConfig(1, 8, 4, 513), 0.5, 2_000_000)
TWO = result(LoraConfig(2, 8, 4, 513), 0.5, 3_000_000)
SLOW = result(LoraConfig(1, 16, 4, 513), 2.0, 4_500_000)
WIDE = result(LoraConfig(2, 16, 4, 513), 1.0, 4_000_000)
LONG = result(LoraConfig(1, 8, 4, 1025), 0.5, 5_000_000)
LEAN = result(LoraConfig(1, 8, 4, 513, grad_checkpoint=True), 1.0, 1_000_000)


def table(*results: TrialResult, room: TerminalSize = TerminalSize(), others: int = 0) -> list[str]:  # noqa: B008
    naming = ConfigLabels.of(each.config for each in results)
    return list(configuration_lines(results, SCORE, naming, room, others))


def test_the_best_comes_first_and_what_nothing_beats_is_marked() -> None:
    assert table(ONE, SLOW, TWO, WIDE) == [
        "Configurations that fit, best first",
        "      batch  rank  layers  tokens/s  score   needs   takes   a step",
        "  *>      2    16       4     1,024    128  4.0 MB  8.0 MB  1,000ms",
        "  *>      2     8       4     2,048     64  3.0 MB  6.0 MB    500ms",
        "          1    16       4       256     64  4.5 MB  9.0 MB  2,000ms",
        "  *       1     8       4     1,024     32  2.0 MB  4.0 MB    500ms",
        "* unbeaten in capacity, speed and memory, beyond noise",
        "> the fastest batch size of its rank × layers",
    ]


def test_by_speed_the_order_is_that_of_speed() -> None:
    naming = ConfigLabels.of([ONE.config])
    speed = Objective.TOKENS_PER_SECOND
    lines = list(configuration_lines([WIDE, TWO], speed, naming, TerminalSize(), 0))
    assert [line.split()[1:3] for line in lines[2:4]] == [["2", "8"], ["2", "16"]]
    assert "score" not in lines[1]


def test_a_peak_over_the_budget_is_marked() -> None:
    over = dataclasses.replace(
        WIDE, memory_limit_bytes=5_000_000, warnings=(RECORDED_WITHOUT_BUDGET,)
    )
    lines = table(over, TWO)
    assert "  8.0 MB†  " in lines[2]
    assert "†" not in lines[3]
    assert lines[-1] == "† peak recorded without this budget"
    measured = dataclasses.replace(over, warnings=())
    assert table(measured, TWO)[-1] == "† peak over the budget"


def test_further_axes_are_columns_and_qualities() -> None:
    lines = table(ONE, LONG, LEAN)
    assert lines[1].split()[:5] == ["batch", "rank", "layers", "seq", "ckpt"]
    assert [line.split()[4:6] for line in lines[2:5]] == [
        ["1025", "off"],
        ["513", "off"],
        ["513", "on"],
    ]
    assert lines[-2:] == [
        "* unbeaten in capacity, length, speed and memory, beyond noise",
        "> the fastest batch size of its rank × layers × sequence × checkpointing",
    ]


def test_accumulation_that_follows_from_the_batch_is_no_axis_of_the_marks() -> None:
    one, two = (
        dataclasses.replace(
            each, config=dataclasses.replace(each.config, grad_accumulation_steps=steps)
        )
        for each, steps in ((ONE, 2), (TWO, 1))
    )
    lines = table(one, two)
    assert [line.split()[0] for line in lines[2:4]] == ["*>", "*"]
    assert lines[-1] == "> the fastest batch size of its rank × layers"


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    large = result(LoraConfig(8, 256, 32, 4097), 0.25, 100_000_000_000)
    for columns in (40, 60, 80):
        lines = table(large, LONG, LEAN, room=TerminalSize(columns, 50))[:-2]
        assert max(map(len, lines)) <= columns
        assert "tokens/s" in lines[1]
    assert lines[1].split()[-1] == "step"
    assert table(ONE, WIDE, room=TerminalSize(40, 50))[1].split() == [
        *("batch", "rank", "layers", "tokens/s", "needs")
    ]
    assert table(ONE, WIDE, room=TerminalSize(5, 50))[1].split() == ["batch"]


def test_what_follows_from_the_batch_size_makes_room_for_what_is_needed() -> None:
    results = [
        result(LoraConfig(size, 8, 4, 513, grad_accumulation_steps=16 // size), 1.0, 10**9)
        for size in (2, 4)
    ]
    lines = table(*results, room=TerminalSize(40, 50))
    assert lines[1].split() == ["batch", "rank", "layers", "tokens/s", "needs"]


def test_where_rows_are_left_out_those_that_are_marked_stay() -> None:
    # From batch size 3 on a step takes longer by more than it does.
    many = [
        result(LoraConfig(size, 8, 4, 513), float(max(1, size - 2) ** 2), size * 1000)
        for size in range(1, 51)
    ]
    lines = table(*many, room=TerminalSize(80, 24), others=11)
    rows = [row.split() for row in data_rows(lines)]
    assert len(rows) == 24 - 11 - 5
    assert [row[0] for row in rows] == ["50", "49", "48", "47", "46", "*>", "*", "*"]
    assert "  42 more: -v shows them" in lines
    few = [row.split()[0] for row in data_rows(table(*many, room=TerminalSize(80, 4)))]
    assert few == ["50", "49", "*>", "*", "*"]
    assert len(list(data_rows(table(*many, room=TerminalSize(80, 24, is_verbose=True))))) == 50
    assert len(list(data_rows(table(*many)))) == 40, "a log is no place for hundreds"


def data_rows(lines: list[str]) -> Iterator[str]:
    return (line for line in lines[2:-2] if "more" not in line)


def test_a_single_one_is_not_compared() -> None:
    assert table(ONE) == []
