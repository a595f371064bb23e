"""The search against matrices made by a formula: bytes and seconds as physics has them."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from pytest_yourai.core.config import SAFETY_MARGIN, FineTuneType, LoraConfig, Objective
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.ranking import best, lightest_first, score_and_length
from pytest_yourai.core.results import TrialResult
from pytest_yourai.sweep.search.speed_model import speed_posterior
from pytest_yourai.sweep.search.strategy import Choice, choose_next, most_trials

from support.made_predictor import MadePredictor

SCORE, SPEED = Objective.SCORE, Objective.TOKENS_PER_SECOND
Needs = dict[LoraConfig, float]
Results = dict[LoraConfig, TrialResult]


def matrix(
    batches: Iterable[int] = (1, 2, 4, 6, 8),
    ranks: Iterable[int] = (32, 64, 128, 256),
    layers: Iterable[int] = (8, 16, 24, 32),
    lengths: Iterable[int] = (256,),
    checkpoints: Iterable[bool] = (False,),
) -> list[LoraConfig]:
    axes = itertools.product(batches, ranks, layers, lengths, checkpoints)
    return [LoraConfig(*each) for each in axes]


QUICK = matrix((1, 2, 4), (64, 128), (16, 32))


def need_bytes(config: LoraConfig) -> float:
    tokens = config.batch_size * config.max_seq_length
    adapters = config.num_layers * config.rank
    kept = tokens * config.num_layers * (0.2 if config.grad_checkpoint else 1.0)
    return 4.6e9 + 1.1e6 * tokens + 4e4 * kept + 9e4 * adapters


def step_s(config: LoraConfig) -> float:
    tokens = config.batch_size * config.max_seq_length
    backward = tokens * config.num_layers * (1.5e-6 + 2e-9 * config.rank)
    backward *= 1.7 if config.grad_checkpoint else 1.0
    return 0.03 + 3e-5 * tokens + backward + 5e-4 * config.num_layers


def measured(config: LoraConfig, limit_bytes: float, need: float, seconds: float) -> TrialResult:
    fits = round(need) * SAFETY_MARGIN <= limit_bytes
    return TrialResult(
        model="made",
        config=config,
        outcome=Outcome.OK if fits else Outcome.OVER_BUDGET,
        step_times_s=(seconds,) if fits else (),
        step_tokens=(config.batch_size * (config.max_seq_length - 1),) if fits else (),
        minimum_memory_bytes=round(need),
    )


def estimate(configs: Iterable[LoraConfig], factor: float = 1.04) -> MadePredictor:
    """Estimates that are all off by one factor; nothing learned yet."""
    return MadePredictor({each: need_bytes(each) * factor for each in configs})


NO_ESTIMATE: list[LoraConfig] = []


class Bench:
    """What trials would measure, with what was made wrong of them."""

    def __init__(
        self,
        configs: list[LoraConfig],
        limit_bytes: float,
        *,
        needs: Mapping[LoraConfig, float] | None = None,
        times: Mapping[LoraConfig, float] | None = None,
        crashing: Iterable[LoraConfig] = (),
    ) -> None:
        self.configs = configs
        self.limit_bytes = round(limit_bytes)
        self.truth = {
            each: measured(
                each,
                self.limit_bytes,
                need_bytes(each) * (needs or {}).get(each, 1.0),
                step_s(each) * (times or {}).get(each, 1.0),
            )
            for each in configs
        }
        for each in crashing:
            self.truth[each] = TrialResult("made", each, Outcome.CRASHED, "died")

    def search(self, objective: Objective, estimated: Iterable[LoraConfig]) -> tuple[Results, str]:
        """All trials of a search that has estimates for the configurations `estimated`."""
        results: Results = {}
        predictor = estimate(estimated)
        while True:
            choice = choose_next(self.configs, predictor, results, self.limit_bytes, objective)
            if choice.config is None:
                return results, choice.reason
            assert choice.config not in results
            assert choice.reason
            results[choice.config] = self.truth[choice.config]
            predictor.learn(results[choice.config])

    def regret(self, results: Results, objective: Objective) -> float:
        top, found = (best(each.values(), objective) for each in (self.truth, results))
        if top is None:
            return 0.0
        return 1 - value(found, objective) / value(top, objective)


def value(result: TrialResult | None, objective: Objective) -> float:
    if result is None:
        return 0.0
    if objective is SCORE:
        return result.config.throughput_score
    return result.tokens_per_second or 0.0


def limits(configs: list[LoraConfig], count: int = 9) -> list[float]:
    """From one under which nothing fits to one under which everything does."""
    needs = [need_bytes(each) * SAFETY_MARGIN for each in configs]
    low, high = 0.98 * min(needs), 1.02 * max(needs)
    return [low * (high / low) ** (number / (count - 1)) for number in range(count)]


@pytest.mark.repeats
@pytest.mark.parametrize("known", [True, False], ids=["estimate", "no estimate"])
@pytest.mark.parametrize(("configs", "most"), [(matrix(), 10), (QUICK, 6)], ids=["80", "12"])
def test_the_best_is_found_in_few_trials_at_any_budget(
    configs: list[LoraConfig], most: int, known: bool
) -> None:
    estimated = configs if known else NO_ESTIMATE
    for limit_bytes in limits(configs):
        bench = Bench(configs, limit_bytes)
        for objective, allowed in ((SCORE, 1e-9), (SPEED, 0.03)):
            results, _ = bench.search(objective, estimated)
            assert len(results) <= most
            assert bench.regret(results, objective) <= allowed


def test_an_estimate_saves_trials_by_score() -> None:
    configs = matrix()
    benches = [Bench(configs, each) for each in limits(configs)]
    informed = sum(len(bench.search(SCORE, configs)[0]) for bench in benches)
    blind = sum(len(bench.search(SCORE, NO_ESTIMATE)[0]) for bench in benches)
    assert informed <= 3 * len(benches)
    assert informed < 0.8 * blind


@pytest.mark.repeats
@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.2])
def test_a_minimum_measured_wrongly_does_not_mislead(objective: Objective, factor: float) -> None:
    configs = matrix()
    for limit_bytes in limits(configs, 7):
        first = choose_next(configs, estimate(configs), {}, round(limit_bytes), objective).config
        assert first
        bench = Bench(configs, limit_bytes, needs={first: factor})
        results, _ = bench.search(objective, configs)
        assert len(results) <= 10
        assert bench.regret(results, objective) <= (0.03 if objective is SPEED else 1e-9)


@pytest.mark.repeats
@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_step_time_measured_wrongly_does_not_mislead(factor: float) -> None:
    configs = matrix()
    for limit_bytes in limits(configs, 7):
        first = choose_next(configs, estimate(configs), {}, round(limit_bytes), SPEED).config
        assert first
        bench = Bench(configs, limit_bytes, times={first: factor})
        results, _ = bench.search(SPEED, configs)
        assert len(results) <= 10
        assert bench.regret(results, SPEED) <= 0.03


def test_what_is_fast_in_the_middle_is_found() -> None:
    """Large batches may be slower than middle ones, as where memory is shared and near its end."""
    configs = matrix()
    slow = {each: 1 + 0.3 * max(0, each.batch_size - 4) for each in configs}
    bench = Bench(configs, 1e12, times=slow)
    results, _ = bench.search(SPEED, configs)
    top = best(results.values(), SPEED)
    assert top
    assert top.config.batch_size == 4
    assert bench.regret(results, SPEED) <= 0.03


@pytest.mark.parametrize("objective", list(Objective))
def test_crashes_say_nothing_of_memory(objective: Objective) -> None:
    configs = matrix()
    limit_bytes = limits(configs)[5]
    plain, _ = Bench(configs, limit_bytes).search(objective, configs)
    winner = best(plain.values(), objective)
    assert winner
    bench = Bench(configs, limit_bytes, crashing=[winner.config])
    results, reason = bench.search(objective, configs)
    assert results[winner.config].outcome is Outcome.CRASHED
    assert bench.regret(results, objective) <= (0.03 if objective is SPEED else 1e-9)
    assert "found" in reason or "faster" in reason


@pytest.mark.parametrize("objective", list(Objective))
def test_it_says_that_nothing_fits(objective: Objective) -> None:
    results, reason = Bench(QUICK, 3e9).search(objective, QUICK)
    assert len(results) <= 2
    assert reason.startswith("nothing fits: every configuration ")
    results, reason = Bench(QUICK, 3e9).search(objective, NO_ESTIMATE)
    assert len(results) <= 6
    assert reason.startswith("nothing fits: every configuration was measured over the budget, or ")


def test_it_says_why_the_best_score_is_the_best() -> None:
    _, reason = Bench(QUICK, 1e12).search(SCORE, QUICK)
    assert reason == "the best score is found: none is higher"
    over = Bench(QUICK, limits(QUICK)[4]).search(SCORE, QUICK)[1]
    assert over.startswith("the best score is found: everything with a higher score ")
    assert "budget" in over


def test_it_says_why_no_other_is_faster() -> None:
    _, reason = Bench(QUICK, 1e12).search(SPEED, QUICK)
    assert reason == "no other configuration is predicted to be more than 3 % faster"


@pytest.mark.parametrize("objective", list(Objective))
def test_holes_and_several_lengths(objective: Objective) -> None:
    full = matrix((1, 3, 8), (8, 64), (4, 24), lengths=(128, 512))
    configs = [each for number, each in enumerate(full) if number % 5]
    for limit_bytes in limits(configs):
        bench = Bench(configs, limit_bytes)
        results, _ = bench.search(objective, configs)
        assert len(results) <= most_trials(len(configs))
        assert bench.regret(results, objective) <= (0.03 if objective is SPEED else 1e-9)


ALL_AXES = matrix((1, 2, 4), (64, 128), (16, 32), (256, 512, 1024), (False, True))


@pytest.mark.repeats
@pytest.mark.parametrize("known", [True, False], ids=["estimate", "no estimate"])
def test_by_score_the_longest_rows_without_checkpointing_are_found(known: bool) -> None:
    estimated = ALL_AXES if known else NO_ESTIMATE
    for limit_bytes in limits(ALL_AXES):
        bench = Bench(ALL_AXES, limit_bytes)
        results, reason = bench.search(SCORE, estimated)
        assert len(results) <= most_trials(len(ALL_AXES))
        top, found = (best(each.values(), SCORE) for each in (bench.truth, results))
        if top is None or found is None:
            assert found is top
            continue
        assert score_and_length(found.config) == score_and_length(top.config)
        twin = dataclasses.replace(found.config, grad_checkpoint=False)
        assert found.config == twin or not bench.truth[twin].success
        assert " (or as high with longer rows or without checkpointing)" in reason


@pytest.mark.repeats
@pytest.mark.parametrize("known", [True, False], ids=["estimate", "no estimate"])
def test_by_speed_lengths_and_checkpointing_are_searched_too(known: bool) -> None:
    estimated = ALL_AXES if known else NO_ESTIMATE
    for limit_bytes in limits(ALL_AXES):
        bench = Bench(ALL_AXES, limit_bytes)
        results, _ = bench.search(SPEED, estimated)
        assert len(results) <= most_trials(len(ALL_AXES))
        assert bench.regret(results, SPEED) <= 0.03


def test_a_checkpointed_best_is_tried_without_it_unless_that_cannot_fit() -> None:
    plain = LoraConfig(8, 64, 32, 1024)
    lean = dataclasses.replace(plain, grad_checkpoint=True)
    known = {lean: measured(lean, 1e12, need_bytes(lean), step_s(lean))}
    for limit_bytes, expected in ((1e12, plain), (round(1.2 * need_bytes(lean)), None)):
        predictor = estimate([plain, lean], 1.0)
        choice = choose_next([plain, lean], predictor, known, round(limit_bytes), SCORE)
        assert choice.config == expected


def test_a_checkpointed_best_is_not_final_while_as_high_a_score_may_fit_without() -> None:
    lean, plain = LoraConfig(2, 64, 32, 512, grad_checkpoint=True), LoraConfig(4, 64, 16, 512)
    known = {lean: measured(lean, 1e12, need_bytes(lean), step_s(lean))}
    assert choose_next([plain, lean], estimate([]), known, 10**12, SCORE).config == plain
    known[plain] = measured(plain, 1e12, need_bytes(plain), step_s(plain))
    assert choose_next([plain, lean], estimate([]), known, 10**12, SCORE).config is None


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("known", [True, False])
def test_one_configuration_is_measured_once(objective: Objective, known: bool) -> None:
    only = LoraConfig(1, 8, 4, 64)
    estimated = [only] if known else NO_ESTIMATE
    results, reason = Bench([only], 1e12).search(objective, estimated)
    assert (list(results), reason) == ([only], "every configuration has a result")
    _, reason = Bench([only], 1e9).search(objective, NO_ESTIMATE)
    assert reason == "every configuration has a result, and none fits"


def test_no_configuration_at_all() -> None:
    assert choose_next([], estimate([]), {}, 10, SCORE) == Choice(None, "there is no configuration")


@pytest.mark.parametrize("objective", list(Objective))
def test_estimates_of_some_configurations_alone_are_not_used(objective: Objective) -> None:
    configs = matrix()
    for limit_bytes in limits(configs, 5):
        bench = Bench(configs, limit_bytes)
        assert bench.search(objective, configs[::3]) == bench.search(objective, NO_ESTIMATE)


def test_results_that_were_not_measured_say_nothing_but_are_not_chosen() -> None:
    limit_bytes = round(limits(QUICK)[5])
    first = choose_next(QUICK, estimate(QUICK), {}, limit_bytes, SCORE).config
    assert first
    skipped = TrialResult("made", first, Outcome.OVER_BUDGET, "predicted", started=False)
    choice = choose_next(QUICK, estimate(QUICK), {first: skipped}, limit_bytes, SCORE)
    assert choice.config not in {None, first}
    assert choose_next(QUICK, estimate(QUICK), {}, limit_bytes, SCORE, {first}) == choice


def test_kept_results_count_as_measured_but_not_as_trials() -> None:
    bench = Bench(QUICK, limits(QUICK)[5])
    done, reason = bench.search(SPEED, QUICK)
    kept = {
        each: dataclasses.replace(result, started=False, kept=True) for each, result in done.items()
    }
    predictor = estimate(QUICK)
    for result in kept.values():
        predictor.learn(result)
    again = choose_next(QUICK, predictor, kept, bench.limit_bytes, SPEED)
    assert again == Choice(None, reason)


def test_an_allocation_that_failed_rules_out_what_is_larger() -> None:
    configs = matrix()
    limit_bytes = round(need_bytes(configs[0]) * SAFETY_MARGIN * 0.99)
    before = choose_next(configs, estimate(configs, 1.0), {}, limit_bytes, SCORE)
    assert before.config == configs[0]
    oom = TrialResult("made", configs[0], Outcome.OOM, "refused")
    after = choose_next(configs, estimate(configs, 1.0), {configs[0]: oom}, limit_bytes, SCORE)
    assert after.config is None
    assert after.reason.startswith("nothing fits: every configuration was measured over the ")


@pytest.mark.parametrize("objective", list(Objective))
def test_the_choice_depends_on_nothing_but_what_is_known(objective: Objective) -> None:
    configs = matrix()
    bench = Bench(configs, limits(configs)[4])
    results, _ = bench.search(objective, configs)
    known = dict(list(results.items())[:2])
    turned = dict(reversed(known.items()))
    predictor = estimate(configs)
    here = choose_next(configs, predictor, known, bench.limit_bytes, objective)
    there = choose_next(configs[::-1], predictor, turned, bench.limit_bytes, objective)
    assert here == there


def test_the_number_of_trials_grows_slowly() -> None:
    assert [most_trials(count) for count in (0, 1, 2, 12, 80)] == [1, 1, 2, 6, 10]
    assert most_trials(80, recipes=3) == 12


def recipes(configs: Iterable[LoraConfig]) -> list[LoraConfig]:
    """Each of `configs` as LoRA, as DoRA, on all linear layers, and as full fine-tuning."""
    made = {
        dataclasses.replace(each, **changes).canonical()
        for each in configs
        for changes in (
            {},
            {"fine_tune_type": FineTuneType.DORA},
            {"lora_keys": "all"},
            {"fine_tune_type": FineTuneType.FULL},
        )
    }
    return lightest_first(made)


def recipe_factor(config: LoraConfig) -> float:
    """How much more memory and time the recipe of `config` takes than LoRA."""
    factor = {"lora": 1.0, "dora": 1.6, "full": 2.0}[config.fine_tune_type]
    return factor * (1.25 if config.lora_keys == "all" and factor == 1 else 1.0)


@pytest.mark.repeats
@pytest.mark.parametrize("objective", [SCORE, SPEED])
@pytest.mark.parametrize("is_estimated", [True, False])
@pytest.mark.parametrize("limit", [6e9, 9e9, 40e9])
def test_recipes_are_told_apart(objective: Objective, is_estimated: bool, limit: float) -> None:
    configs = recipes(matrix((1, 2, 4, 8), (16, 64), (8, 16)))
    factors = {each: recipe_factor(each) for each in configs}
    bench = Bench(configs, limit, needs=factors, times=factors)
    results, _ = bench.search(objective, configs if is_estimated else NO_ESTIMATE)
    assert bench.regret(results, objective) <= (0.0 if objective is SCORE else 0.03)
    assert len(results) <= most_trials(len(configs), recipes=4)


def test_a_slow_recipe_says_little_about_the_speed_of_another() -> None:
    lora = matrix((1, 2, 4), (64,), (16,))
    dora = [dataclasses.replace(each, fine_tune_type=FineTuneType.DORA) for each in lora]
    bench = Bench([*lora, *dora], 1e12, times=dict.fromkeys(dora, 3.0))
    seen = {each: bench.truth[each] for each in (*lora[:2], dora[0])}
    expected = np.exp(speed_posterior([*lora, *dora], seen).expected())
    true = [bench.truth[each].tokens_per_second or 0.0 for each in (*lora, *dora)]
    assert expected == pytest.approx(true, rel=0.1)


def test_batch_sizes_of_one_effective_batch_size_are_comparable() -> None:
    configs = [
        dataclasses.replace(each, grad_accumulation_steps=16 // each.batch_size)
        for each in matrix((1, 2, 4, 8, 16), (64,), (16,))
    ]
    results, _ = Bench(configs, 1e12).search(SPEED, configs)
    fastest = max(results.values(), key=lambda each: each.tokens_per_second or 0).config
    assert {abs(math.log2(each.batch_size / fastest.batch_size)) for each in results} >= {0.0, 1.0}
