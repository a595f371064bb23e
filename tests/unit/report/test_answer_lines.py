"""The sentence on whether a configuration fits."""

from __future__ import annotations

import dataclasses

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET, TrialResult
from pytest_yourai.report.answer_lines import beaten_note, fits_sentence

from support.profiles import GB, stored

FITTING = TrialResult(
    "m",
    LoraConfig(1, 8, 4, 64),
    Outcome.OK,
    step_times_s=(1.0,),
    step_tokens=(63,),
    minimum_memory_bytes=12_500_000_000,
    peak_memory_bytes=13_900_000_000,
    memory_limit_bytes=16 * GB,
)


def test_it_names_minimum_budget_and_peak() -> None:
    assert fits_sentence(FITTING) == (
        "Fits: needs 12.5 of 16.0 GB, uses up to 13.9 GB when allowed."
    )
    small = dataclasses.replace(
        FITTING, minimum_memory_bytes=9_000_000, peak_memory_bytes=11_600_000
    )
    assert fits_sentence(small) == (
        "Fits: needs 9.0 MB of 16.0 GB, uses up to 11.6 MB when allowed."
    )


def test_without_a_budget_it_names_none() -> None:
    unlimited = dataclasses.replace(FITTING, memory_limit_bytes=None)
    assert fits_sentence(unlimited) == "Fits: needs 12.5 GB, uses up to 13.9 GB when allowed."


def test_it_says_what_mlx_lm_would_take_where_the_limit_held_it_back() -> None:
    held = dataclasses.replace(FITTING, predicted_peak_memory_bytes=24_600_000_000)
    end = "uses up to 13.9 GB when allowed; mlx_lm.lora, which sets no limit, would take about "
    assert fits_sentence(held) == f"Fits: needs 12.5 of 16.0 GB, {end}24.6 GB."
    for same in (
        dataclasses.replace(held, predicted_peak_memory_bytes=14_500_000_000),
        dataclasses.replace(held, memory_limit_bytes=20 * GB),
        dataclasses.replace(held, memory_limit_bytes=None),
    ):
        assert fits_sentence(same).endswith("uses up to 13.9 GB when allowed.")
    over = dataclasses.replace(held, peak_memory_bytes=16_100_000_000)
    assert "mlx_lm.lora" not in fits_sentence(over)
    assert "mlx_lm.lora" not in fits_sentence(held, has_minimum=False)


def test_a_peak_over_the_budget_is_no_promise() -> None:
    over = dataclasses.replace(FITTING, peak_memory_bytes=19_300_000_000)
    assert fits_sentence(over) == (
        "Fits: needs 12.5 of 16.0 GB; its peak of 19.3 GB was over the budget."
    )
    recorded = dataclasses.replace(over, warnings=(RECORDED_WITHOUT_BUDGET,))
    assert fits_sentence(recorded) == (
        "Fits: needs 12.5 of 16.0 GB; its peak of 19.3 GB was recorded without this budget."
    )


def test_a_peak_in_place_of_a_minimum_is_called_so() -> None:
    assert fits_sentence(FITTING, has_minimum=False) == (
        "Fits: takes 13.9 of 16.0 GB; its minimum is not known."
    )


def test_what_is_as_fast_to_the_digit_in_less_memory_is_called_so() -> None:
    leaner = dataclasses.replace(
        FITTING, config=LoraConfig(1, 8, 4, 64, grad_checkpoint=True), minimum_memory_bytes=GB
    )
    naming = stored().naming
    note = beaten_note(FITTING, [FITTING, leaner], naming)
    assert note is not None
    assert "is as fast in less memory (63 tokens/s, needs 1.0 GB)" in note
    assert beaten_note(leaner, [FITTING, leaner], naming) is None
