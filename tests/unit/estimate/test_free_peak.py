"""What is in flight where nothing limits it, by hand, and as it was measured."""

from __future__ import annotations

import dataclasses
import statistics

import pytest

from pytest_yourai.estimate.coefficients import AMPERE, HOPPER, LARGE_METAL, METAL
from pytest_yourai.estimate.free_peak import FreePeak, LayerWork
from pytest_yourai.estimate.layer_work import mean_of

from support.recorded_peaks import PeakRow, recorded_peaks

ROWS = recorded_peaks()

USUAL = LayerWork(
    vectors=20e6,
    scores=0.0,
    largest_scores=0.0,
    is_fused=True,
    adapted_outputs=5e6,
    adapted_inputs=4e6,
    adapter_parameters=1e6,
    weight_gradients=0.0,
    adapters=4,
    inner_product=16e3,
    multiplications=1e11,
    kept_bytes=100e6,
    element_bytes=2,
)


def test_operations_limit_what_is_in_flight() -> None:
    own, wide = 5 * 20e6, 2 * 5e6 + 1.5 * 4e6 + 6.7 * 1e6
    layers = 11 * 100 / (61 + 4 * 13)
    made = own * 2 + wide * 4
    assert FreePeak(USUAL, 32, HOPPER).backward_bytes == pytest.approx(layers * made)
    assert FreePeak(USUAL, 4, HOPPER).backward_bytes == pytest.approx(5 * made)
    assert FreePeak(USUAL, 32, AMPERE).backward_bytes == pytest.approx(0.2 * layers * made)


def test_fewer_adapters_than_were_measured_count_as_four() -> None:
    one = dataclasses.replace(USUAL, adapters=1)
    assert one.operations == USUAL.operations
    seven = dataclasses.replace(USUAL, adapters=7)
    assert FreePeak(seven, 32, HOPPER).backward_bytes < FreePeak(USUAL, 32, HOPPER).backward_bytes


def grown(by: float) -> LayerWork:
    sizes = ("vectors", "adapted_outputs", "adapted_inputs", "adapter_parameters")
    return dataclasses.replace(USUAL, **{name: by * getattr(USUAL, name) for name in sizes})


def test_elements_limit_it_on_a_gpu_and_large_operations_fill_a_batch_alone() -> None:
    most = FreePeak(grown(50), 32, HOPPER).backward_bytes
    assert most == pytest.approx(FreePeak(grown(100), 32, HOPPER).backward_bytes)
    metal = [FreePeak(grown(by), 32, METAL).backward_bytes for by in (1, 50, 100)]
    assert metal[0] < metal[1] < metal[2] < most
    assert (
        FreePeak(USUAL, 32, METAL).backward_bytes < FreePeak(USUAL, 32, LARGE_METAL).backward_bytes
    )


def test_a_gpu_that_ends_work_sooner_than_it_comes_has_less_in_flight() -> None:
    idle = dataclasses.replace(USUAL, multiplications=1e6)
    busy = FreePeak(USUAL, 32, HOPPER).backward_bytes
    assert FreePeak(idle, 32, HOPPER).backward_bytes == pytest.approx(0.45 * busy, rel=0.01)


@pytest.mark.parametrize(("inner", "share"), [(130e3, 1.0), (260e3, 0.54), (1e6, 0.08)])
def test_large_inner_products_hinder_it_but_the_margin_stays(inner: float, share: float) -> None:
    hindered = FreePeak(dataclasses.replace(USUAL, inner_product=inner), 32, HOPPER)
    usual = FreePeak(USUAL, 32, HOPPER)
    assert hindered.backward_bytes == pytest.approx(share * usual.backward_bytes)
    most = usual.backward_bytes + usual.margin_bytes
    assert hindered.backward_bytes + hindered.margin_bytes == pytest.approx(most)


def test_on_the_cpu_a_task_is_a_few_operations() -> None:
    found = FreePeak(USUAL, 32, None).backward_bytes
    assert found == pytest.approx(11 * 4 / 113 * USUAL.made_bytes)
    assert FreePeak(USUAL, 32, None).checkpointed_loss_bytes == 0


def test_scores_that_fill_a_batch_of_metal_alone_are_in_flight_once_more() -> None:
    large = dataclasses.replace(USUAL, scores=100e6, largest_scores=100e6, is_fused=False)
    assert FreePeak(large, 32, METAL).largest_bytes == 200e6
    assert FreePeak(large, 32, HOPPER).largest_bytes == 0
    assert FreePeak(USUAL, 32, METAL).largest_bytes == 0
    assert FreePeak(USUAL, 32, None).largest_bytes == 0
    assert large.own == USUAL.own + 2 * 2 * 100e6


def test_scores_that_are_joined_with_sinks_are_made_and_read_more_often() -> None:
    joined = dataclasses.replace(USUAL, joined_scores=50e6)
    assert joined.own == USUAL.own + 7 * 50e6
    few = FreePeak(joined, 32, HOPPER).backward_bytes
    assert few == pytest.approx(11 * 100 / 113 * joined.made_bytes), "as operations limit it"
    large = dataclasses.replace(USUAL, joined_scores=500e6)
    counted = 2.83 * (USUAL.own + USUAL.wide) + 14 * 500e6
    most = FreePeak(large, 32, HOPPER).backward_bytes
    assert most == pytest.approx(11 * (1000 << 20) / counted * large.made_bytes)


def test_unlike_layers_count_as_their_mean_but_for_the_largest_array() -> None:
    attention = dataclasses.replace(USUAL, scores=90e6, largest_scores=90e6, is_fused=False)
    convolution = dataclasses.replace(USUAL, vectors=50e6, adapters=1)
    found = mean_of([(attention, 1), (convolution, 2)])
    assert found.vectors == pytest.approx(40e6)
    assert found.adapters == 2
    assert (found.scores, found.largest_scores) == (30e6, 90e6)
    assert not found.is_fused
    assert mean_of([(USUAL, 16)]) == USUAL


def test_with_checkpointing_the_forward_pass_is_in_flight_at_the_loss() -> None:
    found = FreePeak(USUAL, 32, METAL)
    kept = 50e6
    counted = 11 * ((40 << 20) + 3 * kept / 113)
    assert found.checkpointed_loss_bytes == pytest.approx(2 * counted)
    assert FreePeak(USUAL, 2, METAL).checkpointed_loss_bytes == 2 * 100e6
    assert found.loss_bytes == 0.5 * found.backward_bytes


def test_measured_peaks_that_nothing_was_fitted_to_are_met() -> None:
    judged = [row for row in ROWS if row.is_judged]
    errors = [abs(row.error) for row in judged]
    assert len({row.model for row in judged}) >= 6
    assert statistics.mean(errors) <= 0.05
    assert max(errors) <= 0.11


@pytest.mark.parametrize(("backend", "rows"), [("cuda", 200), ("cpu", 40)])
def test_measured_peaks_that_it_was_fitted_to_are_met(backend: str, rows: int) -> None:
    fitted = [row for row in ROWS if row.is_fitted and row.recipe.backend == backend]
    assert len(fitted) > rows
    assert statistics.mean(abs(row.error) for row in fitted) <= 0.05
    if backend == "cpu":
        assert max(abs(row.error) for row in fitted) <= 0.12


@pytest.mark.parametrize("row", [row for row in ROWS if row.is_judged], ids=str)
def test_no_measured_peak_is_above_its_conservative_estimate(row: PeakRow) -> None:
    assert row.peak_bytes <= row.estimate.conservative_peak_bytes


def test_a_limit_is_the_most_that_is_taken_unless_more_is_needed() -> None:
    estimate = ROWS[0].estimate
    between = (estimate.minimum_bytes + estimate.peak_bytes) // 2
    assert estimate.peak_bytes_under(between) == between
    assert estimate.peak_bytes_under(1) == estimate.minimum_bytes
    assert estimate.peak_bytes_under(1 << 60) == estimate.peak_bytes
    limited = [row for row in ROWS if row.limit_bytes is not None]
    assert len(limited) == 4
    for row in limited:
        assert row.peak_bytes == pytest.approx(row.predicted_bytes, rel=0.05)
