"""Estimates of all models that were asked for: what decides them, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pytest_yourai.core.config import SAFETY_MARGIN, LoraConfig, Quantization
from pytest_yourai.core.errors import ModelError, OptionError, UnavailableError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.machine.system_memory import SystemMemory
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan import recommend as module
from pytest_yourai.plan.estimates_file import write
from pytest_yourai.plan.recommend import recommend
from pytest_yourai.plan.recommendation import Recommendation, Recommendations, Verdict
from pytest_yourai.plugin.read_options import read_options

from support.hub import bare_model
from support.models import TINY

GB = 1_000_000_000


def found(pytester: pytest.Pytester, *flags: str) -> Recommendations:
    return recommend(read_options(pytester.parseconfig(*flags)))


def one(pytester: pytest.Pytester, *flags: str, budget: str = "64") -> Recommendation:
    [only] = found(pytester, f"--yourai-max-memory={budget}", *flags).models
    return only


def test_all_presets_are_estimated_in_their_order(pytester: pytest.Pytester) -> None:
    all_of_them = found(pytester, "--yourai-max-memory=50")
    assert [each.name for each in all_of_them.models] == list(read_presets(packaged_models()))
    assert all_of_them.left_out == {}
    assert all_of_them.backend == installed_backend()
    largest = dataclasses.replace(all_of_them, backend="metal").largest_that_fits
    assert largest is not None
    assert (largest.name, largest.config) == ("hermes-70b", LoraConfig(1, 24, 12, 512))


LENGTHS = TrainingData((100,) * 97 + (1000,) * 3)


def with_rows(pytester: pytest.Pytester, *flags: str) -> Recommendations:
    """Of a folder whose tokenizer makes rows of these LENGTHS of the data."""
    if not (pytester.path / "mine").exists():
        bare_model(pytester.path / "mine", TINY)
    options = read_options(
        pytester.parseconfig("--yourai-model=./mine", "--yourai-data=a/b", *flags)
    )
    return recommend(options, lambda *_: LENGTHS)


def test_rows_are_as_long_as_the_users_and_shorter_ones_are_offered(
    pytester: pytest.Pytester,
) -> None:
    [found] = with_rows(pytester, "--yourai-max-memory=64", "--yourai-seq-length=2048").models
    [full] = recommend(
        read_options(
            pytester.parseconfig(
                "--yourai-model=./mine", "--yourai-max-memory=64", "--yourai-seq-length=1025"
            )
        )
    ).models
    assert found.data == LENGTHS
    assert found.estimate == full.estimate
    assert found.config.max_seq_length == 2048
    first = found.shorter[0]
    assert (first.config.max_seq_length, first.rows_cut) == (768, 3)
    assert first.needs_bytes < first.instead_of_bytes == found.estimate.minimum_bytes
    assert not full.shorter


def test_batches_that_the_rows_do_not_fill_are_not_recommended(
    pytester: pytest.Pytester,
) -> None:
    [found] = with_rows(pytester, "--yourai-max-memory=64", "--yourai-batch-size=1,200").models
    assert found.config.batch_size == 1
    with pytest.raises(ModelError, match="--yourai-data: 100 rows cannot fill a batch of 200"):
        with_rows(pytester, "--yourai-max-memory=64", "--yourai-batch-size=200")


def test_a_type_that_mlx_lm_has_no_module_for_is_left_out(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "new", {**TINY, "model_type": "of_the_future"})
    with pytest.raises(ModelError, match="mlx-lm has no model type of_the_future: update it"):
        one(pytester, "--yourai-model=./new")
    bare_model(pytester.path / "own", {**TINY, "model_type": "own", "model_file": "own.py"})
    assert one(pytester, "--yourai-model=./own").verdict is Verdict.FITS


def test_what_does_not_fit_is_changed_for_rows_as_long_as_the_users(
    pytester: pytest.Pytester,
) -> None:
    flags = ("--yourai-seq-length=4096", "--yourai-batch-size=4", "--yourai-rank=8")
    [wide] = with_rows(pytester, *flags, "--yourai-max-memory=64").models
    budget = wide.estimate.minimum_bytes / GB / 2
    [found] = with_rows(pytester, *flags, f"--yourai-max-memory={budget:.3f}").models
    assert found.instead is not None
    assert found.asked_bytes == wide.estimate.minimum_bytes
    assert all(each.instead_of_bytes < wide.estimate.minimum_bytes for each in found.shorter)


def test_the_data_of_a_recipe_is_not_read_for_an_estimate(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "mine", TINY)
    (pytester.path / "lora.yaml").write_text("model: ./mine\ndata: a/b\n")
    options = read_options(pytester.parseconfig("--yourai-config=lora.yaml"))
    [found] = recommend(options, lambda *_: pytest.fail("it was read")).models
    assert found.data is None


def test_on_a_cpu_the_model_that_does_not_take_minutes_is_next(pytester: pytest.Pytester) -> None:
    all_of_them = dataclasses.replace(found(pytester, "--yourai-max-memory=50"), backend="cpu")
    largest = all_of_them.largest_that_fits
    assert largest is not None
    assert largest.name == "tiny"
    assert not all_of_them.is_slow(largest)
    assert all_of_them.is_slow(next(each for each in all_of_them.models if each.name == "llama-8b"))


def test_a_larger_machine_can_be_asked_about(pytester: pytest.Pytester) -> None:
    large = found(pytester, "--yourai-max-memory=4000", "--yourai-model=tiny")
    assert large.budget.limit_bytes == 4000 * GB
    assert not large.budget.is_detected
    assert large.machine is None


def test_without_a_budget_this_machine_has_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SystemMemory(100 * GB, 90 * GB, swap_used_bytes=0)
    monkeypatch.setattr(module, "read_system_memory", lambda: memory)
    here = found(pytester, "--yourai-model=tiny")
    assert here.budget.is_detected
    assert here.budget.limit_bytes in (80 * GB, 60 * GB), "60 on a Mac"
    assert here.machine is not None
    assert here.machine.endswith(", 100.0 GB (93 GiB)")


def test_settings_that_change_memory_are_taken_into_account(pytester: pytest.Pytester) -> None:
    def need(*flags: str) -> int:
        return one(pytester, "--yourai-model=llama-8b", *flags).estimate.minimum_bytes

    usual = need()
    assert need("--yourai-seq-length=2048") > usual
    assert need("--yourai-quantize=8") > usual
    assert need("--yourai-lora-keys=self_attn.q_proj") < usual
    assert need("--yourai-grad-checkpoint") < usual


def test_a_folder_is_counted_and_goes_by_the_name_that_was_given(pytester: pytest.Pytester) -> None:
    bare_model(pytester.path / "mine", {**TINY, "quantization": {"bits": 8, "group_size": 64}})
    mine = one(pytester, "--yourai-model=./mine")
    assert (mine.asked_as, mine.name) == ("./mine", "mine")
    assert mine.quantization == Quantization(8)
    assert mine.parameters == pytest.approx(0.25e6, rel=0.2)
    assert mine.config.num_layers == TINY["num_hidden_layers"]


@pytest.fixture
def own_list(pytester: pytest.Pytester) -> str:
    bare_model(pytester.path / "mine", TINY)
    (pytester.path / "own.yaml").write_text("mine: {path: mine}\nfar: {repo: owner/far}\n")
    return "--yourai-models=own.yaml"


def test_what_cannot_be_estimated_is_left_out_with_its_reason(
    pytester: pytest.Pytester, own_list: str
) -> None:
    mine = found(pytester, own_list, "--yourai-max-memory=1")
    assert [each.name for each in mine.models] == ["mine"]
    assert list(mine.left_out) == ["far"]
    assert "not on this machine" in mine.left_out["far"]
    write(pytester.path / "r.json", mine)
    written: dict[str, Any] = json.loads((pytester.path / "r.json").read_text())
    assert written["left_out"] == dict(mine.left_out)
    assert [each["name"] for each in written["models"]] == ["mine"]


def test_estimates_take_the_place_of_nothing_but_estimates(
    pytester: pytest.Pytester, own_list: str
) -> None:
    mine, path = found(pytester, own_list, "--yourai-max-memory=1"), pytester.path / "r.json"
    assert write(path, mine) is None
    assert write(path, mine) is None
    for text in (json.dumps({"all_results": []}), "notes"):
        path.write_text(text)
        kept = write(path, mine)
        assert kept is not None
        assert kept.read_text() == text


def test_where_nothing_can_be_estimated_the_first_reason_is_the_error(
    pytester: pytest.Pytester, own_list: str
) -> None:
    with pytest.raises(UnavailableError, match="the weights of far are not on this machine"):
        found(pytester, own_list, "--yourai-model=far", "--yourai-max-memory=1")
    with pytest.raises(ModelError, match="LoRA key nothing names no linear layer"):
        found(pytester, "--yourai-lora-keys=nothing", "--yourai-max-memory=1")


SIZES = ("--yourai-model=llama-8b", "--yourai-rank=16", "--yourai-num-layers=all")


def test_of_the_values_that_are_given_the_most_that_fits_is_recommended(
    pytester: pytest.Pytester,
) -> None:
    several = (*SIZES, "--yourai-batch-size=1,2,4", "--yourai-seq-length=256,512")
    roomy = one(pytester, *several)
    assert roomy.config == LoraConfig(4, 16, 32, 512)
    assert roomy.instead is None
    narrow = one(pytester, *several, budget="9")
    assert narrow.config.batch_size < 4
    assert narrow.instead is None


def test_rows_of_an_update_that_are_asked_for_are_kept(pytester: pytest.Pytester) -> None:
    several = (*SIZES, "--yourai-batch-size=3,4,8", "--yourai-effective-batch-size=16")
    assert one(pytester, *several, "--yourai-seq-length=64").config.batch_size == 8
    assert one(pytester, *several, budget="11").config.effective_batch_size == 16
    with pytest.raises(OptionError, match=r"16 is not a multiple of .* 3, 5: choose"):
        one(pytester, *SIZES, "--yourai-batch-size=3,5", "--yourai-effective-batch-size=16")


def test_where_nothing_that_is_asked_for_fits_the_nearest_that_does_is_recommended(
    pytester: pytest.Pytester,
) -> None:
    asked = (*SIZES, "--yourai-batch-size=4,8", "--yourai-seq-length=2048")
    changed = one(pytester, *asked, budget="12")
    assert changed.instead is not None
    assert changed.asked == LoraConfig(4, 16, 32, 2048)
    assert changed.config == changed.instead.config
    assert changed.verdict in (Verdict.FITS, Verdict.TIGHT)
    assert changed.asked_bytes * SAFETY_MARGIN > 12 * GB
    none = one(pytester, *asked, budget="4")
    assert (none.instead, none.verdict, none.config) == (None, Verdict.NO, none.asked)
