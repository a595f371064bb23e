"""Steps of several ranks: what a share takes alone, and what the gradients take between them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.hosts import DistributedBackend
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.data_parallel import (
    Link,
    link_of,
    measured_link,
    sum_time_s,
    time_alone,
    together_time_s,
)
from pytest_yourai.store.profile_reader import profiles_in

from support.profiles import stored

MB = 1_000_000
RING, NCCL, JACCL = (DistributedBackend(name) for name in ("ring", "nccl", "jaccl"))


def test_one_process_sums_nothing() -> None:
    assert sum_time_s(100 * MB, 1, Link(1.0, 1.0)) == 0


def test_each_rank_sends_its_part_in_turns_that_wait() -> None:
    # 64 MiB are two groups, and mlx-lm sums loss and tokens, too.
    size = 64 * 1024**2
    assert sum_time_s(size, 2, Link(size, 0.0)) == pytest.approx(1.0)
    assert sum_time_s(size, 4, Link(size, 0.0)) == pytest.approx(1.5)
    assert sum_time_s(size, 2, Link(1e30, 1.0)) == pytest.approx(2 * (2 + 2))
    assert sum_time_s(1, 4, Link(1e30, 1.0)) == pytest.approx(6 * (1 + 2))


def test_the_ring_of_one_machine_is_as_fast_as_it_was_measured() -> None:
    # 109 MB between two processes of an H200's host.
    assert sum_time_s(109 * MB, 2, link_of(RING, is_here=True)) == pytest.approx(0.031, rel=0.1)


def recorded(gpus: int, name: str) -> Sequence[TrialResult]:
    """The successes of llama-8b on one H200 of so many, or on all of them by a backend."""
    path = Path(__file__).parents[2] / "data" / f"hosts_{gpus}xh200_{name}.json"
    [profile] = profiles_in(json.loads(path.read_text()), path.name)
    return profile.successes


@pytest.mark.parametrize("backend", [NCCL, RING])
@pytest.mark.parametrize(("gpus", "mean", "largest"), [(2, 0.06, 0.1), (4, 0.06, 0.16)])
def test_gpus_take_what_is_predicted_of_one(
    gpus: int, mean: float, largest: float, backend: DistributedBackend
) -> None:
    alone = {each.config: each for each in recorded(gpus, "alone")}
    link = link_of(backend, is_here=True)
    off = []
    for each in recorded(gpus, backend):
        share = dataclasses.replace(each.config, batch_size=each.config.batch_size // gpus)
        if share in alone:
            sum_s = sum_time_s(each.all_sum_bytes or 0, gpus, link)
            predicted_s = together_time_s(alone[share].step_time_s or 0, sum_s, gpus, on_cuda=True)
            off.append(predicted_s / (each.step_time_s or 0) - 1)
    assert len(off) == (4 if gpus == 2 else 6)
    assert max(map(abs, off)) < largest, off
    assert sum(map(abs, off)) / len(off) < mean, off


def test_without_a_gpu_ranks_wait_for_each_other_as_long_however_many_they_are() -> None:
    assert together_time_s(1.0, 0.5, 1, on_cuda=False) == 1.5
    assert (
        together_time_s(1.0, 0.5, 2, on_cuda=False)
        == together_time_s(1.0, 0.5, 4, on_cuda=False)
        > 1.5
    )


def test_sums_that_were_timed_are_believed() -> None:
    usual = Link(1.0, 0.01)
    timed = [
        dataclasses.replace(each, all_sum_bytes=size, all_sum_time_s=time_s)
        for each, size, time_s in zip(
            results(b1=1.0, b2=1.0), (10 * MB, 30 * MB), (9.0, 3.02), strict=True
        )
    ]
    found = measured_link(timed, 2, usual)
    assert found.bytes_per_s == pytest.approx(10 * MB)
    assert sum_time_s(30 * MB, 2, found) == pytest.approx(3.02 + 2 * 2 * 0.01)
    assert measured_link(results(b1=1.0), 2, usual) == usual
    # The ring of two hosts at 100 Mbit/s: 7.34 MB took 0.700 and 0.712 s.
    slow = link_of(RING, is_here=False, gbit=0.1)
    assert sum_time_s(7_340_032, 2, slow) == pytest.approx(0.706, rel=0.1)


def test_a_link_carries_what_its_speed_says_without_the_headers_of_tcp() -> None:
    gigabit = 1e9 / 8
    assert link_of(RING, is_here=False, gbit=1).bytes_per_s == pytest.approx(0.9 * gigabit)
    assert link_of(RING, is_here=True, gbit=1).bytes_per_s == pytest.approx(0.9 * gigabit)
    assert link_of(JACCL, is_here=False, gbit=80).bytes_per_s == pytest.approx(80 * gigabit)
    assert link_of(NCCL, is_here=True).bytes_per_s > link_of(NCCL, is_here=False).bytes_per_s
    assert link_of(NCCL, is_here=True).latency_s < link_of(RING, is_here=True).latency_s
    assert link_of(RING, is_here=True).latency_s < link_of(RING, is_here=False).latency_s


def results(**times_s: float) -> list[TrialResult]:
    """Trials of batches b1, b2 and so on, whose rows have 100 tokens."""
    return [
        TrialResult(
            "m",
            LoraConfig(int(name[1:]), 8, 4, 64),
            Outcome.OK,
            step_times_s=(time_s,) * 3,
            step_tokens=(100 * int(name[1:]),) * 3,
        )
        for name, time_s in times_s.items()
    ]


def test_what_was_measured_is_taken_as_it_is() -> None:
    found = time_alone(results(b1=1.0, b2=1.5, b4=2.6), LoraConfig(2, 8, 4, 64))
    assert found is not None
    assert (found.step_time_s, found.tokens, found.is_measured) == (1.5, 200, True)


@pytest.mark.parametrize(
    ("measured", "batch", "expected_s"),
    [
        ({"b2": 2.0, "b4": 3.0}, 1, 1.5),
        ({"b1": 1.5, "b2": 2.0, "b4": 3.0}, 8, 5.0),
        ({"b4": 3.0}, 2, 1.5),
        ({"b1": 1.0, "b2": 3.0}, 4, 5.6),  # a would be below 0
        ({"b1": 3.0, "b2": 1.0}, 4, 2.8),  # so would b
    ],
)
def test_between_batches_a_step_has_a_fixed_cost_and_one_of_each_row(
    measured: dict[str, float], batch: int, expected_s: float
) -> None:
    found = time_alone(results(**measured), LoraConfig(batch, 8, 4, 64))
    assert found is not None
    assert not found.is_measured
    assert found.step_time_s == pytest.approx(expected_s, rel=0.2)
    assert found.tokens == pytest.approx(100 * batch)


def test_other_recipes_say_nothing() -> None:
    config = LoraConfig(2, 8, 4, 64)
    assert time_alone(results(b1=1.0), dataclasses.replace(config, rank=16)) is None
    assert time_alone([], config) is None


def test_a_batch_of_an_h200_that_was_not_measured_is_fitted_within_three_percent() -> None:
    profile = stored()
    for config, result in profile.results.items():
        others = [each for each in profile.successes if each.config != config]
        found = time_alone(others, config)
        assert found is not None
        assert not found.is_measured
        alike = [
            each
            for each in others
            if dataclasses.replace(each.config, batch_size=config.batch_size) == config
        ]
        if len(alike) > 1:
            assert found.step_time_s == pytest.approx(result.step_time_s, rel=0.06)
