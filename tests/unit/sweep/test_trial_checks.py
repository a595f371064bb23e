"""What is not tried, and for which reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.outcomes import Outcome, Skip, SkipReason
from pytest_yourai.core.results import ModelSize, TrialResult
from pytest_yourai.estimate.predictor import Prediction
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.matrix import accumulated
from pytest_yourai.plan.sweep_plan import SafeCheck, SweepContext, SweepPlan
from pytest_yourai.sweep import preflight
from pytest_yourai.sweep.preflight import TrialChecks
from pytest_yourai.sweep.search.sweep_search import SweepSearch

from support.made_predictor import MadePredictor
from support.profiles import a_plan

GB = 1_000_000_000
ONE = LoraConfig(1, 8, 4, 64)
TWO = LoraConfig(2, 8, 4, 64)
SURE = Prediction(
    minimum_bytes=10 * GB, conservative_bytes=11 * GB, weights_bytes=4 * GB, relative_error=0.01
)
PLAN = a_plan("llama-8b", (ONE, TWO), memory_wait_s=0)


def gate(
    plan: SweepPlan = PLAN, limit_gb: float = 20, weight_gb: float = 4, rows: int | None = None
) -> TrialChecks:
    inspection = Inspection(
        num_hidden_layers=8,
        parameters=8_000_000_000,
        lora_keys={"qkvo": ()},
        sizes={"qkvo": InspectedShapes(round(weight_gb * GB), (), ())},
        data=TrainingData((5,) * rows) if rows else None,
    )
    device = DeviceInfo("cpu", "a processor", None, None, "0", "0")
    context = SweepContext(device, inspection, Budget(round(limit_gb * GB), "as given"))
    search = SweepSearch(plan, round(limit_gb * GB), MadePredictor({}))
    ended: list[str] = []
    return TrialChecks(plan, context, search, ended.append)


def test_an_array_that_metal_does_not_allow_is_refused_before_the_trial() -> None:
    source = dataclasses.replace(
        PLAN.source, architecture={"hidden_size": 64, "vocab_size": 1_000_000}
    )
    plan = dataclasses.replace(PLAN, source=source)
    found = gate(plan)
    device = DeviceInfo("metal", "Apple M1", 24 * GB, None, "0", "0", 200_000_000, 499_000)
    context = dataclasses.replace(found.context, device=device)
    checks = dataclasses.replace(found, context=context)
    assert checks.refusal(ONE, SURE) is None, "126 MB"
    assert checks.expects_trial(ONE, SURE, [])
    refused = checks.refusal(TWO, SURE)
    assert refused is not None
    assert refused.skip_reason is SkipReason.OVER_DEVICE_LIMIT
    assert refused.lacks_memory
    assert refused.error == (
        "its logits are one array of 252.0 MB, and Metal allows 200.0 MB for one on this machine; "
        "use a smaller batch_size, or a shorter max_seq_length; --yourai-force runs it"
    )
    assert not checks.expects_trial(TWO, SURE, [])
    forced = dataclasses.replace(checks, plan=dataclasses.replace(plan, force=True))
    assert forced.expects_trial(TWO, SURE, [])
    short = dataclasses.replace(context.inspection, data=TrainingData((5, 31)))
    rows = dataclasses.replace(checks, context=dataclasses.replace(context, inspection=short))
    assert rows.refusal(TWO, SURE) is None, "a batch is as wide as its longest row"


def failed(config: LoraConfig = ONE, **changes: Any) -> TrialResult:
    return dataclasses.replace(TrialResult("llama-8b", config, Outcome.OOM, "no"), **changes)


def test_what_can_tell_something_new_is_needed() -> None:
    assert gate().skip(TWO, SURE, []) is None
    assert gate(rows=2).skip(TWO, None, []) is None
    assert gate().refusal(TWO, SURE) is None


@pytest.mark.parametrize(
    ("config", "rows", "failures", "rule", "reason"),
    [
        (
            LoraConfig(1, 8, 9, 64),
            None,
            [],
            SkipReason.INVALID,
            "not valid for this model, which has 8 layers",
        ),
        (TWO, 1, [], SkipReason.INVALID, "not valid for this data, which has fewer rows than 2"),
        (
            TWO,
            None,
            [failed()],
            SkipReason.DOMINATED,
            "no smaller than batch=1, rank=8, layers=4, which failed for memory (oom)",
        ),
        (
            TWO,
            None,
            [failed(model="small", size=ModelSize(1, 1))],
            SkipReason.DOMINATED,
            "no smaller than small with batch=1, rank=8, layers=4, which failed for memory (oom)",
        ),
    ],
)
def test_what_cannot_is_skipped_for_its_reason(
    config: LoraConfig,
    rows: int | None,
    failures: list[TrialResult],
    rule: SkipReason,
    reason: str,
) -> None:
    found = gate(rows=rows).skip(config, None, failures)
    assert found is not None
    assert found == Skip(rule, reason, found.remedy)
    assert (found.remedy is None) is (rule is SkipReason.DOMINATED)


@pytest.mark.parametrize(("batch", "is_valid"), [(1, True), (4, True), (3, False), (32, False)])
def test_batches_that_do_not_divide_the_effective_batch_size_are_not_valid(
    batch: int, is_valid: bool
) -> None:
    config = accumulated(LoraConfig(batch, 8, 4, 64), 16)
    found = gate(dataclasses.replace(PLAN, effective_batch_size=16)).skip(config, None, [])
    reason = f"not valid for an effective batch size of 16, which is not a multiple of {batch}"
    remedy = "use a batch_size that divides 16"
    assert found == (None if is_valid else Skip(SkipReason.INVALID, reason, remedy))


def test_accumulated_batches_may_be_more_than_the_rows() -> None:
    config = LoraConfig(2, 8, 4, 64, grad_accumulation_steps=8)
    assert gate(rows=3).skip(config, None, []) is None


def test_a_sweep_refuses_what_is_predicted_to_be_surely_over() -> None:
    assert gate(limit_gb=11.5).refusal(ONE, SURE) is None
    found = gate(limit_gb=11).refusal(ONE, SURE)
    assert found is not None
    assert found.outcome is Outcome.SKIPPED
    assert found.skip_reason is SkipReason.PREDICTED_OVER_BUDGET


def test_a_check_refuses_weights_that_are_too_large_but_no_prediction() -> None:
    check = dataclasses.replace(PLAN, configs=(), check=SafeCheck(None, ONE))
    assert gate(check, limit_gb=5).refusal(ONE, SURE) is None
    found = gate(check, limit_gb=4.5).refusal(ONE, SURE)
    assert found is not None
    assert found.outcome is Outcome.OVER_BUDGET
    assert found.conclusive
    assert "its weights alone take 4.0 GB" in (found.reason or "")


def test_a_sweep_refuses_weights_that_are_too_large_whether_it_can_predict_or_not() -> None:
    assert gate(limit_gb=5).refusal(ONE, None) is None
    found = gate(limit_gb=4.5).refusal(ONE, None)
    assert found is not None
    assert (found.outcome, found.started) == (Outcome.OVER_BUDGET, False)
    assert "its weights alone take 4.0 GB" in (found.reason or "")


def test_where_too_little_is_left_nothing_starts_and_nothing_is_concluded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "LEAST_AVAILABLE_BYTES", 1 << 60)
    check = dataclasses.replace(PLAN, configs=(), check=SafeCheck(None, ONE))
    found = gate(check).refusal(ONE, SURE)
    assert found is not None
    assert found.outcome is Outcome.SAFETY_STOP
    assert not found.conclusive
    assert found.remedy == "close programs, or add --yourai-force"
    # A sweep keeps the guard's floor.
    assert gate().refusal(ONE, SURE) is None


def test_what_speaks_against_a_trial_is_known_before_its_turn() -> None:
    assert gate().expects_trial(TWO, SURE, [])
    assert not gate().expects_trial(TWO, SURE, [failed()])
    assert not gate(limit_gb=11).expects_trial(TWO, SURE, [])
    forced = dataclasses.replace(PLAN, force=True)
    assert gate(forced, limit_gb=11).expects_trial(TWO, SURE, [])
