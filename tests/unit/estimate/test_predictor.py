"""What a configuration will need: before anything ran, and as trials come in."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_yourai.core.config import FineTuneType, LoraConfig
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.paths import matrices_folder, packaged_models
from pytest_yourai.core.results import TrialResult
from pytest_yourai.estimate.calibration import Calibration
from pytest_yourai.estimate.earlier_runs import EarlierRuns, kind_of_recipe
from pytest_yourai.estimate.predictor import Prediction, PredictionErrors, Predictor
from pytest_yourai.models.architecture import InspectedShapes, LayerArrays
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.models.source import ModelSource
from pytest_yourai.models.step_profile import StepProfile, step_kind

GB = 1_000_000_000


def predictor(name: str = "llama-8b") -> Predictor:
    presets = read_presets(packaged_models())
    model = resolve(name, matrices_folder() / "nowhere", "auto", presets)
    source = ModelSource(
        name=name,
        architecture=model.architecture,
        folder=None,
        synthetic=True,
        quantization=model.quantization(None),
        lora_keys=("qkvo",),
    )
    return Predictor(source, "cuda")


KINDS = (kind_of_recipe(LoraConfig(1, 1, 1, 2)),)


def measured(config: LoraConfig, minimum_bytes: int, **more: object) -> TrialResult:
    values = {"minimum_memory_bytes": minimum_bytes, **more}
    return TrialResult("m", config, Outcome.OK, **values)  # type: ignore[arg-type]


def test_a_prediction_is_near_what_the_gpu_measured() -> None:
    # tests/data/floors_h200.json, batch 4, rank 64, 16 layers, 256 tokens.
    prediction = predictor().predict(LoraConfig(4, 64, 16, 256))
    assert prediction is not None
    assert abs(prediction.minimum_bytes / 8_636_000_000 - 1) < 0.03
    assert prediction.conservative_bytes > prediction.minimum_bytes


def test_a_traced_step_counts_on_the_cpu_and_for_models_that_no_arithmetic_knows() -> None:
    config = LoraConfig(4, 8, 2, 64)
    moments = ((6400.0,) + 53 * (0.0,), (6400.0,) + 35 * (0.0,) + (1.0, 0, 0, 100.0) + 14 * (0.0,))
    steps = {step_kind(config, 64): StepProfile((moments,))}
    usual = predictor()
    unknown = dataclasses.replace(usual.source, architecture={"model_type": "unheard_of"})
    for backend, source in (("cpu", usual.source), ("cuda", unknown)):
        found = Predictor(source, backend, steps=steps).predict(config)  # type: ignore[arg-type]
        assert found is not None
        assert found.minimum_bytes == 6400 + 1 + 4 * 100
    assert Predictor(unknown, "cuda").predict(config) is None


def test_trials_correct_the_next_prediction() -> None:
    learning = predictor()
    configs = [LoraConfig(batch, 64, layers, 256) for batch, layers in ((1, 8), (4, 16), (8, 32))]
    before = learning.predict(LoraConfig(6, 128, 24, 256))
    assert before is not None
    weights = before.weights_bytes
    for config, said in [(config, learning.predict(config)) for config in configs]:
        assert said is not None
        learning.learn(measured(config, round(weights + (said.minimum_bytes - weights) * 1.08)))
    after = learning.predict(LoraConfig(6, 128, 24, 256))
    assert after is not None
    grown = (after.minimum_bytes - weights) / (before.minimum_bytes - weights)
    assert 1.03 < grown < 1.1
    assert learning.learned


def test_checkpointing_is_predicted_and_learned_by_itself() -> None:
    learning = predictor()
    plain = LoraConfig(4, 64, 16, 256)
    lean = LoraConfig(4, 64, 16, 256, grad_checkpoint=True)
    first, leaner = learning.predict(plain), learning.predict(lean)
    assert first is not None
    assert leaner is not None
    # tests/data/floors_h200.json
    assert abs(leaner.minimum_bytes / 6_078_671_408 - 1) < 0.06
    assert leaner.relative_error > first.relative_error
    assert predictor().predict(lean) == leaner, "whatever was predicted before"
    for layers in (8, 16, 32):
        config = LoraConfig(4, 64, layers, 256)
        said = learning.predict(config)
        assert said is not None
        learning.learn(measured(config, said.minimum_bytes))
    surer = learning.predict(plain)
    assert surer is not None
    assert surer.relative_error < first.relative_error
    assert learning.predict(lean) == leaner, "plain trials do not say how good this estimate is"
    learning.learn(measured(lean, round(leaner.minimum_bytes * 1.05)))
    after = learning.predict(lean)
    assert after is not None
    assert after.minimum_bytes > leaner.minimum_bytes
    assert learning.predict(plain) == surer
    assert {each.trials for each in learning.learned.values()} == {3, 1}


def test_longer_rows_are_predicted_to_need_more() -> None:
    said = [predictor().predict(LoraConfig(1, 64, 16, length)) for length in (512, 1024, 2048)]
    needs = [each.minimum_bytes for each in said if each is not None]
    assert len(needs) == 3
    assert needs == sorted(set(needs))


def test_real_rows_are_predicted_at_the_padded_length_of_the_longest() -> None:
    def minimum_bytes(longest_row: int | None, max_seq_length: int) -> int:
        real = dataclasses.replace(predictor(), longest_row=longest_row)
        prediction = real.predict(LoraConfig(4, 64, 16, max_seq_length))
        assert prediction is not None
        return prediction.minimum_bytes

    assert minimum_bytes(200, 2048) == minimum_bytes(None, 225) < minimum_bytes(None, 2048)
    assert minimum_bytes(5000, 2048) == minimum_bytes(None, 2048)


def test_nothing_is_predicted_where_nothing_is_known_of_the_model() -> None:
    source = ModelSource("m", {}, None, synthetic=True, quantization=None, lora_keys=("qkvo",))
    unknown = Predictor(source, "cuda")
    assert unknown.predict(LoraConfig(1, 8, 8, 256)) is None
    unknown.learn(measured(LoraConfig(1, 8, 8, 256), GB))
    assert unknown.learned == {}


def test_nothing_is_predicted_where_trials_measure_no_minimum() -> None:
    disabled = dataclasses.replace(predictor(), is_enabled=False)
    config = LoraConfig(1, 8, 8, 256)
    assert predictor().predict(config) is not None
    assert disabled.predict(config) is None
    disabled.learn(measured(config, GB))
    assert disabled.learned == {}


def test_it_is_surely_over_only_beyond_the_known_error() -> None:
    prediction = Prediction(10 * GB, 12 * GB, 4 * GB, relative_error=0.02)
    # 10 GB less twice 2 %, and the margin of 15 %: 11.04 GB.
    assert prediction.is_surely_over(round(11.0 * GB))
    assert not prediction.is_surely_over(round(11.1 * GB))
    assert str(prediction) == "about 10.0 GB (± 2.0 %)"


def test_the_peak_is_within_what_the_budget_leaves_unless_more_is_needed() -> None:
    prediction = Prediction(10 * GB, 12 * GB, 4 * GB, relative_error=0.02, ahead_bytes=5 * GB)
    assert prediction.peak_bytes_within(None) == 15 * GB
    assert prediction.peak_bytes_within(20 * GB) == 15 * GB
    assert prediction.peak_bytes_within(round(13.8 * GB)) == 12 * GB
    assert prediction.peak_bytes_within(GB) == 10 * GB
    found = predictor().predict(LoraConfig(1, 8, 8, 256))
    assert found is not None
    assert found.ahead_bytes > 0


def test_what_was_off_in_this_run_is_not_sure_whatever_the_predictions_claim() -> None:
    learning = predictor()
    small, large = LoraConfig(1, 64, 8, 256), LoraConfig(8, 64, 16, 256)
    before = learning.predict(large)
    assert before is not None
    limit = round(before.minimum_bytes * 0.9)
    assert before.is_surely_over(limit)
    first = learning.predict(small)
    assert first is not None
    learning.learn(measured(small, round(first.minimum_bytes / 1.5)))
    after = learning.predict(large)
    assert after is not None
    assert after.largest_residual > 0.49
    assert not after.is_surely_over(limit)


def test_before_the_first_trial_of_a_kind_the_others_show_how_far_off_this_run_is() -> None:
    learning = predictor()
    plain, lean = LoraConfig(1, 64, 8, 256), LoraConfig(1, 64, 8, 256, grad_checkpoint=True)
    said = learning.predict(plain)
    assert said is not None
    learning.learn(measured(plain, round(said.minimum_bytes / 1.2)))
    before = learning.predict(lean)
    assert before is not None
    assert before.largest_residual == pytest.approx(0.2, abs=0.001)
    learning.learn(measured(lean, before.minimum_bytes))
    after = learning.predict(lean)
    assert after is not None
    assert after.largest_residual < 0.001


WIDTHS = (0.002, 0.03, 0.015, 0.075)


@pytest.mark.parametrize("wrong", [(1.0, 1.02, 1.9, 1.08), (1.0, 1.0, 1.2, 0.6)])
def test_the_first_trial_that_contradicts_what_was_learned_earlier_ends_it(
    wrong: tuple[float, ...],
) -> None:
    earlier = EarlierRuns(own=Calibration(wrong, WIDTHS, 12))
    true, misled = (
        predictor(),
        dataclasses.replace(predictor(), earlier=dict.fromkeys(KINDS, earlier)),
    )
    small, large = LoraConfig(1, 64, 8, 256), LoraConfig(8, 64, 16, 256)
    bare, taught = true.predict(small), misled.predict(small)
    assert bare is not None
    assert taught is not None
    assert taught.minimum_bytes != bare.minimum_bytes
    for each in (true, misled):
        each.learn(measured(small, bare.minimum_bytes))
    found, expected = misled.predict(large), true.predict(large)
    assert found is not None
    assert expected is not None
    assert found.minimum_bytes == expected.minimum_bytes
    assert found.largest_residual > expected.largest_residual == 0
    assert misled.learned == true.learned, "it is replaced in the cache"


def test_what_was_learned_earlier_stays_where_it_is_nearer_than_the_estimate() -> None:
    earlier = EarlierRuns(own=Calibration((1.0, 1.2, 1.2, 1.2), WIDTHS, 12))
    learning = dataclasses.replace(predictor(), earlier=dict.fromkeys(KINDS, earlier))
    config = LoraConfig(8, 64, 16, 256)
    said = learning.predict(config)
    assert said is not None
    learning.learn(measured(config, round(said.minimum_bytes * 1.2)))
    [learned] = learning.learned.values()
    assert learned.trials == 13


def test_what_other_models_taught_is_not_taught_on() -> None:
    earlier = EarlierRuns(others=(Calibration((1.0, 1.2, 1.2, 1.2), WIDTHS, 12),))
    learning = dataclasses.replace(predictor(), earlier=dict.fromkeys(KINDS, earlier))
    config = LoraConfig(8, 64, 16, 256)
    said, bare = learning.predict(config), predictor().predict(config)
    assert said is not None
    assert bare is not None
    assert said.minimum_bytes > bare.minimum_bytes
    alone = learning.alone()
    assert alone.predict(config) == bare
    for each in (learning, alone):
        each.learn(measured(config, said.minimum_bytes))
    assert {each.trials for each in alone.learned.values()} == {1}


def test_errors_count_predictions_that_were_fixed_before_their_trials() -> None:
    config = LoraConfig(1, 8, 8, 256)
    results = [
        measured(config, 100, predicted_minimum_memory_bytes=103),
        measured(config, 100, predicted_minimum_memory_bytes=99),
        measured(config, 100),
        measured(config, 100, predicted_minimum_memory_bytes=50, kept=True),
    ]
    errors = PredictionErrors.of(results)
    assert str(errors) == "prediction error so far: mean 2.0 %, max 3.0 % over 2 trials"


def test_without_predictions_there_are_no_errors() -> None:
    errors = PredictionErrors.of([measured(LoraConfig(1, 8, 8, 256), 100)])
    assert str(errors) == "prediction error so far: no trial had a prediction"


def test_full_fine_tuning_is_predicted_from_the_layers_of_the_built_model() -> None:
    full = LoraConfig(1, 0, 2, 64, fine_tune_type=FineTuneType.FULL, lora_keys="all")
    bare = dataclasses.replace(
        predictor(), source=dataclasses.replace(predictor().source, quantization=None)
    )
    described = bare.predict(full)
    assert described is not None
    layer = LayerArrays(1, 1_000_000_000, 200_000, 2_000_000_000)
    built = InspectedShapes(16_000_000_000, (), (), (layer,) * 32)
    found = dataclasses.replace(bare, inspected={"qkvo": built}).predict(full)
    assert found is not None
    assert found.weights_bytes == 16_000_000_000
    # Two moments of Adam for the two layers that are trained, in their own type.
    assert found.minimum_bytes - found.weights_bytes > 2 * 2 * layer.held_bytes
    assert described.minimum_bytes < found.minimum_bytes
    lora = LoraConfig(1, 8, 2, 64, lora_keys="qv")
    other = dataclasses.replace(bare, inspected={"qkvo": built}).predict(lora)
    assert other is not None
    assert other.weights_bytes == described.weights_bytes
