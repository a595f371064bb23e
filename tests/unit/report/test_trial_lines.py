"""Lines of a sweep: what is an axis shows in all of them, what is not in none."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig, Objective, Optimizer
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import TrialResult
from pytest_yourai.core.soak_results import SoakResult
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.report.trial_lines import predictions, summary, swept_title, trial_line

from support.profiles import a_soak

GB = 1_000_000_000


def result(config: LoraConfig, step_s: float, need: int) -> TrialResult:
    return TrialResult(
        "m",
        config,
        Outcome.OK,
        step_times_s=(step_s,),
        step_tokens=(config.batch_size * (config.max_seq_length - 1),),
        minimum_memory_bytes=need,
        peak_memory_bytes=2 * need,
        memory_limit_bytes=16_000_000_000,
    )


ONE = result(LoraConfig(1, 8, 4, 513), 0.5, 2_000_000)
TWO = result(LoraConfig(2, 8, 4, 513), 0.5, 3_000_000)
WIDE = result(LoraConfig(2, 16, 4, 513), 1.0, 4_000_000)
LONG = result(LoraConfig(1, 8, 4, 1025), 0.5, 5_000_000)
LEAN = result(LoraConfig(1, 8, 4, 513, grad_checkpoint=True), 1.0, 1_000_000)


def said(*results: TrialResult) -> list[str]:
    naming = ConfigLabels.of(each.config for each in results)
    return list(summary(results, Objective.SCORE, len(results), None, naming))


def line(of: TrialResult, *others: TrialResult) -> str:
    return trial_line(1, 2, of, ConfigLabels.of(each.config for each in (of, *others)))


def test_with_accumulation_an_update_is_shown_too() -> None:
    config = LoraConfig(1, 8, 4, 513, grad_accumulation_steps=4)
    found = dataclasses.replace(ONE, config=config, step_times_s=(0.02, 0.02, 0.02, 0.048))
    assert line(found).endswith("✓ needs 2.0 MB, takes 4.0 MB, 27ms/step, 108ms/update ± 0.0 %")


def test_without_further_axes_they_are_not_shown() -> None:
    assert (
        line(ONE, TWO)
        == "[1/2] batch=1, rank=8, layers=4 ... ✓ needs 2.0 MB, takes 4.0 MB, 500ms/step"
    )
    assert said(ONE, TWO, WIDE) == [
        "Largest configuration that fits",
        "  Batch size:    2",
        "  LoRA rank:     16",
        "  LoRA layers:   4",
        "  Score:         128 (2 × 16 × 4)",
        "  Speed:         1,024 tokens/s",
        "  Fits: needs 4.0 MB of 16.0 GB, uses up to 8.0 MB when allowed.",
        "  Outcomes:      3 ok",
        "Fastest, leanest: batch=2, rank=8, layers=4 (2,048 tokens/s, needs 3.0 MB)",
    ]


def test_where_only_batches_differ_the_fastest_is_the_headline() -> None:
    slow = result(LoraConfig(4, 8, 4, 513), 2.0, 9_000_000)
    lines = said(ONE, TWO, slow)
    assert lines[:2] == ["Fastest, leanest configuration that fits", "  Batch size:    2"]
    assert lines[-1] == "Largest: batch=4, rank=8, layers=4 (1,024 tokens/s, needs 9.0 MB)"


def test_what_is_faster_in_less_memory_is_named_below_the_headline() -> None:
    slow = result(LoraConfig(4, 16, 4, 513), 4.0, 9_000_000)
    assert (
        "  Note: batch=2, rank=16, layers=4 is faster in less memory (1,024 tokens/s, needs 4.0 MB)"
        in said(ONE, WIDE, slow)
    )
    assert not any("Note" in line for line in said(ONE, TWO, WIDE))


def test_after_a_fast_search_the_other_answers_are_of_what_was_measured() -> None:
    left_out = TrialResult.skipped(
        "m", LONG.config, Skip(SkipReason.SEARCH_IS_DONE, "it is smaller")
    )
    lines = said(ONE, TWO, WIDE, left_out)
    assert lines[0] == "Largest configuration that fits"
    assert lines[-1].startswith("Fastest, leanest of the 3 measured: batch=2, rank=8, layers=4")
    [heading, *_] = said(WIDE, left_out)
    assert heading == "Largest configuration that fits"
    naming = ConfigLabels.of([WIDE.config])
    stopped = list(summary([WIDE, left_out], Objective.SCORE, 2, "it is found", naming))
    assert stopped[-2:] == [
        "Search: stopped after 1 trial: it is found",
        "To search for the fastest: --yourai-objective=tokens_per_second",
    ]
    by_speed = summary([WIDE, left_out], Objective.TOKENS_PER_SECOND, 2, "it is found", naming)
    assert list(by_speed)[-1] == stopped[-2]


def test_after_an_interruption_it_is_the_best_so_far() -> None:
    naming = ConfigLabels.of([ONE.config, TWO.config])
    skipped = TrialResult.skipped("m", WIDE.config, Skip(SkipReason.DOMINATED, "it is larger"))
    [heading, *_] = summary([ONE, TWO, skipped], Objective.SCORE, 12, None, naming)
    assert heading == "Best so far (2 of 12 measured)"
    failed = dataclasses.replace(ONE, outcome=Outcome.OOM, reason="x")
    assert list(summary([failed], Objective.SCORE, 12, None, naming))[:2] == [
        "Incomplete: 1 of 12 measured",
        "No configuration fits",
    ]


def test_the_title_of_a_sweep_says_what_is_swept() -> None:
    full = LoraConfig(2, 0, 4, 513, fine_tune_type=FineTuneType.FULL).canonical()
    configs = [each.config for each in (TWO, WIDE, LONG)]
    assert swept_title(configs, ConfigLabels.of(configs)) == (
        "Sweep: batch 1, 2 × rank 8, 16 × layers 4 × seq 513, 1025"
    )
    assert swept_title([full], ConfigLabels.of([full])) == "Sweep: batch 2 × layers 4"
    updates = [
        dataclasses.replace(TWO.config, batch_size=batch, grad_accumulation_steps=16 // batch)
        for batch in (1, 2, 8)
    ]
    assert swept_title(updates, ConfigLabels.of(updates)) == (
        "Sweep: batch 1, 2, 8 × rank 8 × layers 4, in updates of 16 rows"
    )


def test_what_is_unusual_shows_where_it_is_the_same_for_all() -> None:
    keys = "self_attn.q_proj,self_attn.v_proj"
    config = dataclasses.replace(
        ONE.config, optimizer=Optimizer.SGD, fine_tune_type=FineTuneType.DORA, lora_keys=keys
    )
    assert said(dataclasses.replace(ONE, config=config))[4:7] == [
        "  Type:          dora",
        "  Optimizer:     sgd",
        f"  Modules:       {keys}",
    ]
    whole = dataclasses.replace(config, rank=0, fine_tune_type=FineTuneType.FULL).canonical()
    lines = said(dataclasses.replace(ONE, config=whole))
    assert lines[1:5] == [
        "  Type:          full fine-tuning",
        "  Batch size:    1",
        "  Layers:        4",
        "  Optimizer:     sgd",
    ]


def test_all_axes_show_in_every_line() -> None:
    assert line(LEAN, LONG).startswith(
        "[1/2] batch=1, rank=8, layers=4, seq=513, checkpoint=on ... ✓ "
    )
    lines = said(ONE, TWO, LONG, LEAN)
    assert lines[:6] == [
        "Largest, fastest, leanest configuration that fits",
        "  Batch size:    2",
        "  LoRA rank:     8",
        "  LoRA layers:   4",
        "  Sequence:      513",
        "  Checkpointing: off",
    ]


def test_each_axis_shows_by_itself() -> None:
    lengths = said(ONE, LONG)
    assert "  Sequence:      1025" in lengths
    assert not any("heckpoint" in each for each in lengths)
    checkpointing = said(ONE, LEAN)
    assert "  Checkpointing: off" in checkpointing
    assert not any("equence" in each for each in checkpointing)


def test_one_of_several_models_has_a_short_answer() -> None:
    naming = ConfigLabels.of([ONE.config, TWO.config])
    assert list(summary([ONE, TWO], Objective.SCORE, 2, None, naming, model="m")) == [
        "Largest, fastest, leanest configuration that fits: m",
        "  batch=2, rank=8, layers=4: score 64, 2,048 tokens/s, needs 3.0 MB",
        "  Fits: needs 3.0 MB of 16.0 GB, uses up to 6.0 MB when allowed.",
        "  Outcomes:      2 ok",
    ]


@pytest.mark.parametrize(
    ("outcome", "soaks", "said"),
    [
        (Outcome.OOM, [], "No configuration fits"),
        (Outcome.ERROR, [], "No configuration was measured to its end"),
        (Outcome.OK, [a_soak(ONE.config, Outcome.PAGING)], "No configuration survived its soak"),
    ],
)
def test_where_there_is_no_optimum_it_says_why(
    outcome: Outcome, soaks: list[SoakResult], said: str
) -> None:
    failed = dataclasses.replace(ONE, outcome=outcome, reason="x")
    naming = ConfigLabels.of([ONE.config])
    lines = summary([failed], Objective.SCORE, 1, None, naming, soaks=soaks)
    assert list(lines) == [said, f"  Outcomes:      1 {outcome}"]


def test_what_a_worker_printed_cannot_move_the_cursor() -> None:
    failed = dataclasses.replace(ONE, outcome=Outcome.ERROR, reason="a\x1b[2Jb\nc")
    assert trial_line(1, 2, failed, ConfigLabels.of([ONE.config])).endswith("✗ error: ab c")


def test_what_was_over_the_budget_before_it_ran_says_why() -> None:
    heavy = TrialResult("m", ONE.config, Outcome.OVER_BUDGET, "its weights alone take 419.0 MB")
    line = trial_line(1, 2, heavy, ConfigLabels.of([heavy.config]))
    assert line.endswith("✗ over budget: its weights alone take 419.0 MB")


def test_where_no_model_can_be_predicted_for_no_backend_is_named() -> None:
    assert list(predictions({"m": "unavailable: not here"}, "", None)) == [
        "  m  unavailable: not here"
    ]
    first, _ = predictions({"m": "unknown: it cannot be estimated"}, "cpu", None)
    assert first == "Predicted for cpu, no budget named, before anything was measured:"


def test_a_prediction_says_what_is_needed_and_taken_or_that_it_is_over_the_budget() -> None:
    prediction = Prediction(10 * GB, 12 * GB, 4 * GB, relative_error=0.02, ahead_bytes=5 * GB)
    first, roomy = predictions({"m": prediction}, "cuda", 40 * GB)
    assert first == "Predicted for cuda within 40.0 GB, before anything was measured:"
    assert roomy == "  m  needs about 10.0 GB (± 2.0 %), takes up to 15.0 GB"
    _, over = predictions({"m": prediction}, "cuda", 10 * GB)
    assert over == "  m  needs about 10.0 GB (± 2.0 %), over the budget"
