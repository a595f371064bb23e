"""The benchmark results as they are written."""

from __future__ import annotations

import dataclasses
import json

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.store.benchmark_results import ModelResult, build_benchmark_results, recommended

GB = 1_000_000_000
OK = TrialResult(
    "small",
    LoraConfig(2, 64, 16, 512),
    Outcome.OK,
    step_times_s=(0.5, 0.5),
    step_tokens=(1022, 1022),
    minimum_memory_bytes=8_000_000_000,
    peak_memory_bytes=12_400_000_000,
)
OVER = dataclasses.replace(OK, outcome=Outcome.OVER_BUDGET, reason="needs 9 GB")


def model(
    name: str,
    check: TrialResult | None = None,
    optimum: TrialResult | None = None,
    parameters: float | None = 8e9,
) -> ModelResult:
    profile = {"optimal_batch_size": 2} if optimum else None
    weights = "synthetic 4-bit"
    preset, title = f"Mine/{name}", f"Owner-{name}"
    return ModelResult(name, preset, title, parameters, 24 * GB, weights, check, optimum, profile)


def test_the_keys_that_others_read() -> None:
    document = build_benchmark_results(
        [model("small", OK), model("large", OVER)],
        complete=True,
        memory_limit_bytes=24_000_000_000,
        environment=None,
    )
    assert document["max_memory_gb"] == 24.0
    assert document["recommended"] == "Mine/small"
    small, large = document["results"]
    assert {
        key: small[key]
        for key in (
            "preset", "model_name", "params", "success", "peak_memory_gb", "error",
            "optimal_config",
        )
    } == {
        "preset": "Mine/small",
        "model_name": "Owner-small",
        "params": "8B",
        "success": True,
        "peak_memory_gb": 12.4,
        "error": None,
        "optimal_config": None,
    }  # fmt: skip
    assert small["data"] is None
    assert small["tokens_per_second"] == 2044.0
    assert small["safe_config"]["lora_rank"] == 64
    assert (large["success"], large["error"]) == (False, "over_budget: needs 9 GB")
    assert json.loads(json.dumps(document)) == document


def test_the_largest_that_fits_is_recommended_by_check_or_by_sweep() -> None:
    assert recommended([]) is None
    assert recommended([model("a", OVER)]) is None
    swept = model("b", optimum=OK, parameters=14e9)
    assert recommended([swept, model("a", OK), model("c", OVER, parameters=70e9)]) is swept
    assert recommended([swept, model("d", OK, parameters=None)]) is swept
    document = build_benchmark_results(
        [swept, model("c")], complete=False, memory_limit_bytes=None, environment=None
    )
    assert document["complete"] is False
    assert document["max_memory_gb"] is None
    assert document["results"][0]["optimal_config"] == {"optimal_batch_size": 2}
    assert document["results"][0]["peak_memory_gb"] == 12.4
    assert document["results"][0]["memory_limit_gb"] == 24.0
    assert document["results"][1]["error"] == "no configuration was measured to its end"


def test_a_model_whose_configurations_all_failed_their_soak_does_not_fit() -> None:
    found = dataclasses.replace(model("small", OK), is_soaked_out=True)
    assert (found.success, found.error) == (False, "no configuration survived its soak")
