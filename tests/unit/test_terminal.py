"""Lines of a sweep: what is an axis shows in all of them, what is not in none."""

from __future__ import annotations

from pytest_yourai.config import LoraConfig, Objective
from pytest_yourai.naming import Naming
from pytest_yourai.report.terminal import predictions, summary, trial_line
from pytest_yourai.results import Outcome, TrialResult


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
WIDE = result(LoraConfig(2, 16, 4, 513), 1.0, 4_000_000)
LONG = result(LoraConfig(1, 8, 4, 1025), 0.5, 5_000_000)
LEAN = result(LoraConfig(1, 8, 4, 513, grad_checkpoint=True), 1.0, 1_000_000)


def said(*results: TrialResult) -> list[str]:
    naming = Naming.of(each.config for each in results)
    return list(summary(results, Objective.SCORE, len(results), None, naming))


def line(of: TrialResult, *others: TrialResult) -> str:
    return trial_line(1, 2, of, Naming.of(each.config for each in (of, *others)))


def test_without_further_axes_nothing_is_said_of_them() -> None:
    assert (
        line(ONE, TWO) == "[1/2] batch=1, rank=8, layers=4 ... ✓ 4.0 MB (needs 2.0 MB), 0.50s/step"
    )
    assert said(ONE, TWO, WIDE) == [
        "Optimal Configuration Found",
        "  Batch size:    2",
        "  LoRA rank:     16",
        "  LoRA layers:   4",
        "  Peak memory:   8.0 MB",
        "  Throughput:    128 (2 × 16 × 4)",
        "  Speed:         1,024 tokens/s",
        "  Outcomes:      3 ok",
        "",
        "Fastest batch for every rank × layers (* unbeaten in capacity, speed and memory)",
        "    rank layers batch   tokens/s      needs",
        "  *    8      4     2      2,048     3.0 MB",
        "  *   16      4     2      1,024     4.0 MB",
        "At other batch sizes unbeaten, with less memory:",
        "  *    8      4     1      1,024     2.0 MB",
    ]


def test_all_axes_show_in_every_line() -> None:
    assert line(LEAN, LONG).startswith(
        "[1/2] batch=1, rank=8, layers=4, seq=513, checkpoint=on ... ✓ "
    )
    lines = said(ONE, TWO, LONG, LEAN)
    assert lines[:6] == [
        "Optimal Configuration Found",
        "  Batch size:    2",
        "  LoRA rank:     8",
        "  LoRA layers:   4",
        "  Sequence:      513",
        "  Checkpointing: off",
    ]
    assert lines[-7:] == [
        (
            "Fastest batch for every rank × layers × sequence × checkpointing "
            "(* unbeaten in capacity, length, speed and memory)"
        ),
        "    rank layers    seq ckpt batch   tokens/s      needs",
        "  *    8      4    513  off     2      2,048     3.0 MB",
        "  *    8      4    513   on     1        512     1.0 MB",
        "  *    8      4   1025  off     1      2,048     5.0 MB",
        "At other batch sizes unbeaten, with less memory:",
        "  *    8      4    513  off     1      1,024     2.0 MB",
    ]


def test_each_axis_shows_by_itself() -> None:
    lengths = said(ONE, LONG)
    assert "  Sequence:      1025" in lengths
    assert "    rank layers    seq batch   tokens/s      needs" in lengths
    assert "  *    8      4   1025     1      2,048     5.0 MB" in lengths
    assert not any("heckpoint" in each for each in lengths)
    checkpointing = said(ONE, LEAN)
    assert "  Checkpointing: off" in checkpointing
    assert (
        "Fastest batch for every rank × layers × checkpointing "
        "(* unbeaten in capacity, speed and memory)"
    ) in checkpointing
    assert "    rank layers ckpt batch   tokens/s      needs" in checkpointing
    assert not any("equence" in each for each in checkpointing)


def test_where_no_model_can_be_predicted_for_no_backend_is_named() -> None:
    assert list(predictions({"m": "unavailable: not here"}, "", None)) == [
        "  m  unavailable: not here"
    ]
    first, _ = predictions({"m": "unknown: it cannot be estimated"}, "cpu", None)
    assert first == "Predicted for cpu, no limit named, before anything was measured:"
