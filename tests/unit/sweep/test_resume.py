from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.budget import Budget
from pytest_yourai.machine.environment import Boot
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.sweep_plan import SafeCheck, SweepContext
from pytest_yourai.store.history import History, PastRun
from pytest_yourai.sweep.resume import ResumeState, resume

from support.profiles import a_plan

GB = 1_000_000_000
ONE, TWO, FOUR = (LoraConfig(batch, 8, 4, 64) for batch in (1, 2, 4))
DEVICE = DeviceInfo("cpu", "AMD", None, None, "0.32.4", "0.32.2")
BOOT = Boot("this boot", 1000.0)
BUDGET = Budget(20 * GB, "80 % of 25.0 GB", is_detected=True)

PLAN = a_plan("tiny", (ONE, TWO, FOUR), identity={"model": "tiny", "versions": {"mlx": "0.32.4"}})


def a_run(*outcomes: Outcome, unfinished: LoraConfig | None = None, **changes: Any) -> PastRun:
    results = {
        config: TrialResult("tiny", config, outcome, memory_limit_bytes=20 * GB)
        for config, outcome in zip((ONE, TWO, FOUR), outcomes, strict=False)
    }
    run = PastRun(
        identity=PLAN.identity,
        boot_id="this boot",
        pid=1,
        budget_bytes=20 * GB,
        budget_is_detected=True,
        device=dataclasses.asdict(DEVICE),
        results=results,
        unfinished=unfinished,
        unfinished_at=1500.0,
    )
    return dataclasses.replace(run, **changes)


def here(budget: Budget = BUDGET) -> SweepContext:
    return SweepContext(DEVICE, Inspection(4, 250_000, {}), budget)


def resumed(*runs: PastRun, budget: Budget = BUDGET, unreadable: int = 0) -> ResumeState:
    return resume(History("log.jsonl", runs, unreadable), PLAN, here(budget), BOOT)


def known(found: ResumeState) -> dict[LoraConfig, TrialResult]:
    return {**found.kept, **found.crashed}


def outcomes(found: ResumeState) -> dict[int, Outcome]:
    return {config.batch_size: result.outcome for config, result in known(found).items()}


def test_what_was_measured_is_kept() -> None:
    found = resumed(a_run(Outcome.OK, Outcome.OVER_BUDGET))
    assert outcomes(found) == {1: Outcome.OK, 2: Outcome.OVER_BUDGET}
    assert all(result.kept for result in found.kept.values())
    assert found.notes == ("2 results are kept from log.jsonl",)


@pytest.mark.parametrize(
    "outcome",
    [Outcome.TIMEOUT, Outcome.CRASHED, Outcome.ERROR, Outcome.INVALID_LOSS, Outcome.SKIPPED],
)
def test_what_failed_otherwise_is_run_again(outcome: Outcome) -> None:
    found = resumed(a_run(Outcome.OK, outcome))
    assert outcomes(found) == {1: Outcome.OK}


def test_a_stop_that_others_caused_is_run_again() -> None:
    run = a_run(Outcome.SAFETY_STOP, Outcome.SAFETY_STOP)
    run.results[ONE] = dataclasses.replace(run.results[ONE], conclusive=False)
    assert outcomes(resumed(run)) == {2: Outcome.SAFETY_STOP}


def test_with_force_every_stop_is_run_again() -> None:
    history = History("log.jsonl", (a_run(Outcome.SAFETY_STOP, Outcome.OK),), 0)
    forced = dataclasses.replace(PLAN, force=True)
    assert outcomes(resume(history, forced, here(), BOOT)) == {2: Outcome.OK}


@pytest.mark.parametrize(
    "change",
    [
        {"identity": {"model": "tiny", "versions": {"mlx": "0.33.0"}}},
        {"identity": {}},
        {"device": {**dataclasses.asdict(DEVICE), "name": "Apple M3 Max"}},
        {"budget_bytes": 30 * GB},
        {"budget_bytes": 0},
    ],
)
def test_another_identity_is_not_taken_over(change: dict[str, Any]) -> None:
    found = resumed(a_run(Outcome.OK, **change))
    assert known(found) == {}
    assert "has nothing of this model, settings, budget and machine" in found.notes[0]


def test_lengths_and_checkpointing_that_are_no_longer_asked_for_leave_the_rest() -> None:
    longer = LoraConfig(1, 8, 4, 128)
    lean = LoraConfig(2, 8, 4, 64, grad_checkpoint=True)
    run = a_run(Outcome.OK)
    run.results[longer] = TrialResult("tiny", longer, Outcome.OOM, memory_limit_bytes=20 * GB)
    run.results[lean] = TrialResult("tiny", lean, Outcome.OK, memory_limit_bytes=20 * GB)
    found = resumed(run)
    assert known(found).keys() == {ONE, longer, lean}
    assert found.notes == ("1 result is kept from log.jsonl",)


def test_how_much_of_the_device_is_free_does_not_matter() -> None:
    device = {**dataclasses.asdict(DEVICE), "free_memory_bytes": 7}
    assert outcomes(resumed(a_run(Outcome.OK, device=device))) == {1: Outcome.OK}


def test_a_detected_budget_is_taken_over_from_the_latest_run() -> None:
    found = resumed(a_run(Outcome.OK, budget_bytes=19 * GB))
    assert found.budget == Budget(19 * GB, "as in the run that is resumed", is_detected=True)
    assert outcomes(found) == {1: Outcome.OK}


def test_no_budget_is_taken_over_from_a_run_without_results() -> None:
    found = resumed(a_run(budget_bytes=5_000_000), a_run(Outcome.SKIPPED, budget_bytes=6_000_000))
    assert found.budget is None


def test_of_several_budgets_the_one_with_most_results_counts() -> None:
    most = a_run(Outcome.OK, Outcome.OK, budget_bytes=18 * GB)
    found = resumed(most, a_run(Outcome.OK, budget_bytes=19 * GB))
    assert found.budget is not None
    assert found.budget.limit_bytes == 18 * GB


@pytest.mark.parametrize(("earlier_gb", "is_taken"), [(21, True), (21.1, False)])
def test_a_budget_that_is_no_longer_there_is_not_taken_over(
    earlier_gb: float, is_taken: bool
) -> None:
    found = resumed(a_run(Outcome.OK, budget_bytes=round(earlier_gb * GB)))
    assert (found.budget is not None) is is_taken


def test_a_given_budget_must_be_the_same() -> None:
    given = Budget(20 * GB, "as given")
    assert outcomes(resumed(a_run(Outcome.OK), budget=given)) == {1: Outcome.OK}
    assert known(resumed(a_run(Outcome.OK, budget_bytes=19 * GB), budget=given)) == {}


def test_the_latest_result_counts() -> None:
    found = resumed(a_run(Outcome.OVER_BUDGET), a_run(Outcome.OK))
    assert outcomes(found) == {1: Outcome.OK}


def test_what_was_running_when_the_machine_went_down_crashed_it() -> None:
    found = resumed(a_run(Outcome.OK, unfinished=TWO, boot_id="an earlier boot"))
    assert outcomes(found) == {1: Outcome.OK, 2: Outcome.MACHINE_CRASH}
    crash = found.crashed[TWO]
    assert "the machine went down" in (crash.reason or "")
    assert crash.conclusive
    assert not crash.started


def test_a_crash_under_another_detected_budget_is_a_crash() -> None:
    run = a_run(unfinished=TWO, boot_id="an earlier boot", budget_bytes=30 * GB)
    assert outcomes(resumed(run)) == {2: Outcome.MACHINE_CRASH}


def test_a_crash_within_a_larger_given_budget_says_nothing_of_a_smaller_one() -> None:
    given = Budget(20 * GB, "as given")
    crash: dict[str, Any] = {
        "unfinished": TWO,
        "boot_id": "an earlier boot",
        "budget_is_detected": False,
    }
    assert known(resumed(a_run(budget_bytes=30 * GB, **crash), budget=given)) == {}
    assert outcomes(resumed(a_run(budget_bytes=10 * GB, **crash), budget=given)) == {
        2: Outcome.MACHINE_CRASH
    }


def test_a_machine_that_went_on_did_not_go_down() -> None:
    broken_off = a_run(unfinished=TWO, boot_id="an earlier boot")
    other = a_run(identity={"model": "other"}, boot_id="an earlier boot", pid=2)
    assert known(resumed(broken_off, other)) == {}
    assert TWO in known(resumed(other, broken_off))


def test_further_models_of_the_same_process_prove_nothing() -> None:
    broken_off = a_run(unfinished=TWO, boot_id="an earlier boot")
    further = a_run(identity={"model": "other"}, boot_id="an earlier boot")
    assert outcomes(resumed(broken_off, further)) == {2: Outcome.MACHINE_CRASH}


def test_of_a_check_only_its_safe_configuration_counts() -> None:
    plan = dataclasses.replace(PLAN, configs=(), check=SafeCheck(None, ONE))
    run = a_run(Outcome.OK, Outcome.OK)
    history = History("log.jsonl", (run,), 0)
    detected = dataclasses.replace(BUDGET, limit_bytes=round(20.5 * GB))
    none = resume(history, plan, here(detected), BOOT)
    assert none.budget is None
    assert none.notes[0].startswith("log.jsonl has nothing of this model")
    safe = LoraConfig(2, 64, 4, 64)
    run.results[safe] = TrialResult("tiny", safe, Outcome.OK, memory_limit_bytes=20 * GB)
    found = resume(history, plan, here(detected), BOOT)
    assert known(found).keys() == {ONE, TWO, safe}
    assert found.notes == ("1 result is kept from log.jsonl",)
    assert found.budget is not None
    assert found.budget.limit_bytes == 20 * GB


def test_without_names_of_boots_their_times_count() -> None:
    later, earlier = 999.0, 1001.0
    for at, expected in ((later, {2: Outcome.MACHINE_CRASH}), (earlier, {})):
        found = resumed(a_run(unfinished=TWO, boot_id=None, unfinished_at=at))
        assert outcomes(found) == expected


def test_without_a_restart_it_is_run_again_once() -> None:
    assert known(resumed(a_run(Outcome.OK, unfinished=TWO))).keys() == {ONE}
    found = resumed(a_run(Outcome.OK, unfinished=TWO), a_run(unfinished=TWO))
    assert outcomes(found) == {1: Outcome.OK, 2: Outcome.CRASHED}
    assert "pytest was killed in it twice" in (found.crashed[TWO].reason or "")


def test_a_result_in_between_makes_the_count_start_anew() -> None:
    done = a_run(Outcome.OK, Outcome.ERROR)
    found = resumed(a_run(unfinished=TWO), done, a_run(unfinished=TWO))
    assert TWO not in known(found)


def test_what_could_not_be_read_is_counted() -> None:
    found = resumed(a_run(Outcome.OK), unreadable=3)
    assert found.notes[1] == "3 unreadable lines of log.jsonl were skipped"
    assert resumed(unreadable=1).notes[1] == "1 unreadable line of log.jsonl was skipped"
