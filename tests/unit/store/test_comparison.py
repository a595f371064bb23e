from typing import Any

import pytest

from pytest_yourai.core.errors import RecordingError
from pytest_yourai.core.outcomes import SkipReason
from pytest_yourai.store.compare.comparison import Metric, compare, compare_all

from support.profiles import failing, larger, slower, stored


def test_every_metric_of_every_configuration_is_put_beside_its_old_value() -> None:
    found = compare(stored(), stored(lambda it: (slower(1.5, 0)(it), larger(1.1, 0)(it))))
    assert len(found.changes) == 12
    first, second = found.changes[:2]
    assert first.share(Metric.STEP_TIME) == pytest.approx(0.5)
    assert first.share(Metric.TOKENS_PER_SECOND) == pytest.approx(1 / 1.5 - 1)
    assert first.share(Metric.MINIMUM_MEMORY) == pytest.approx(0.1)
    assert first.share(Metric.PEAK_MEMORY) == pytest.approx(0.1)
    assert {second.share(metric) for metric in Metric} == {0.0}


@pytest.mark.parametrize(
    ("outcome", "more", "fits", "runs"),
    [
        ("oom", {}, False, True),
        ("over_budget", {}, False, True),
        ("crashed", {}, True, False),
        ("timeout", {}, True, False),
        ("skipped", {"started": False, "skip_reason": SkipReason.DOMINATED}, False, True),
        (
            "skipped",
            {"started": False, "skip_reason": SkipReason.PREDICTED_OVER_BUDGET},
            False,
            True,
        ),
        ("skipped", {"started": False, "skip_reason": SkipReason.SEARCH_IS_DONE}, True, True),
        ("skipped", {"started": False, "error": "no smaller than batch=1: failed"}, False, True),
        ("skipped", {"started": False, "error": "predicted over the budget: 9 GB"}, False, True),
        ("skipped", {"started": False, "error": "cannot be best"}, True, True),
    ],
)
def test_what_was_a_success_may_no_longer_fit_or_run(
    outcome: str, more: dict[str, object], fits: bool, runs: bool
) -> None:
    found = compare(stored(), stored(failing(3, outcome, **more)))
    changed = found.changes[3]
    assert (not changed.no_longer_fits, not changed.no_longer_runs) == (fits, runs)
    assert changed.share(Metric.STEP_TIME) is None


def test_what_failed_before_is_not_a_loss() -> None:
    found = compare(stored(failing(3, "oom")), stored(failing(3, "oom")))
    assert not any(change.no_longer_fits for change in found.changes)


def test_configurations_of_one_sweep_alone_are_there_too() -> None:
    found = compare(
        stored(lambda it: it["all_results"].pop(0)), stored(lambda it: it["all_results"].pop(1))
    )
    assert len(found.changes) == 12
    assert [change.before is None for change in found.changes[:2]] == [True, False]
    assert found.changes[-1].after is None


def test_peaks_are_compared_under_equal_budgets_alone() -> None:
    nearly = stored(lambda it: it.update(memory_limit_gb=110.05))
    other = stored(lambda it: it.update(memory_limit_gb=100.0))
    assert compare(stored(), nearly).lacks(Metric.PEAK_MEMORY) is None
    assert "budgets differ" in (compare(stored(), other).lacks(Metric.PEAK_MEMORY) or "")
    assert compare(stored(), other).lacks(Metric.MINIMUM_MEMORY) is None


def test_peaks_are_not_taken_for_minima() -> None:
    other = stored(lambda it: it["settings"].update(peaks_stand_in_for_minima=True), "peaks.json")
    assert "peaks.json: peaks alone" in (
        compare(stored(), other).lacks(Metric.MINIMUM_MEMORY) or ""
    )


def test_models_are_paired_by_name() -> None:
    other = stored(lambda it: it.update(model="another"))
    [found] = compare_all([other, stored()], [stored()])
    assert found.before.model == "llama-8b"
    with pytest.raises(RecordingError, match="a.json is of another and p.json is of llama-8b"):
        compare_all([stored(lambda it: it.update(model="another"), "a.json")], [stored()])


def test_nothing_can_be_compared_with_what_never_succeeded() -> None:
    def fail(it: dict[str, object]) -> None:
        for row in range(12):
            failing(row, "oom")(it)

    with pytest.raises(RecordingError, match="none of its configurations succeeded"):
        compare_all([stored(fail)], [stored()])
    [found] = compare_all([stored()], [stored(fail)])
    assert all(change.no_longer_fits for change in found.changes)


def test_profiles_without_a_common_configuration_cannot_pass() -> None:
    def other(it: dict[str, Any]) -> None:
        for row in it["all_results"]:
            row["batch_size"] *= 16

    with pytest.raises(RecordingError, match=r"a.json and b.json: none of the configurations"):
        compare_all([stored(name="a.json")], [stored(other, "b.json")])


def test_a_batch_of_several_ranks_is_not_that_of_one() -> None:
    def two(it: dict[str, Any]) -> None:
        it["settings"].update(world_size=2, distributed_backend="ring")

    with pytest.raises(
        RecordingError, match=r"a.json and b.json: one process, now 2 ranks by ring: compare prof"
    ):
        compare_all([stored(name="a.json")], [stored(two, "b.json")])
    assert compare(stored(two), stored(two)).not_comparable is None
    by_nccl = stored(lambda it: it["settings"].update(world_size=2, distributed_backend="nccl"))
    assert "2 ranks by ring, now 2 ranks by nccl" in str(
        compare(stored(two), by_nccl).not_comparable
    )
