"""What several machines are worth: memory of a share, steps, and what keeps them from more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.estimates_file import document
from pytest_yourai.plan.options import check_combinations
from pytest_yourai.plan.recommend import recommend
from pytest_yourai.plan.scaling import Limit, Scaling, ScalingTable
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.scaling_lines import scaling_lines

from support.profiles import document as profile
from support.profiles import quick

GB = 1_000_000_000
RING = ("--yourai-hosts=2", "--yourai-hosts-backend=ring")
MEASURED = "--yourai-profile=p.json"


def table(pytester: pytest.Pytester, *flags: str, model: str = "llama-8b") -> ScalingTable:
    options = read_options(pytester.parseconfig(f"--yourai-model={model}", *flags))
    [only] = recommend(options).models
    assert only.scaling is not None
    return only.scaling


def written(pytester: pytest.Pytester, **settings: Any) -> str:
    found = profile(lambda it: it["settings"].update(settings))
    (pytester.path / "p.json").write_text(json.dumps(found))
    return MEASURED


def by_size(found: ScalingTable) -> dict[tuple[int, int], Scaling]:
    return {(each.machines, each.config.batch_size): each for each in found.rows}


def test_each_machine_needs_what_its_share_needed_alone(pytester: pytest.Pytester) -> None:
    sizes = ("--yourai-batch-size=4", "--yourai-rank=64", "--yourai-num-layers=16")
    rows = by_size(table(pytester, written(pytester), *RING, *sizes))
    assert list(rows) == [(1, 4), (2, 4), (2, 8), (4, 4), (4, 16)]
    needs = {size: each.needs_bytes for size, each in rows.items()}
    # As two H200s needed by NCCL: 8.64 and 11.80 GB at batch 4 and 8.
    assert needs[2, 4] == pytest.approx(8.64 * GB, rel=0.001)
    assert needs[2, 8] == pytest.approx(11.80 * GB, rel=0.001)


def test_a_step_takes_what_its_share_took_alone_and_the_gradients(
    pytester: pytest.Pytester,
) -> None:
    sizes = ("--yourai-batch-size=4", "--yourai-rank=64", "--yourai-num-layers=16")
    flags = (written(pytester), *RING, *sizes)
    rows = by_size(table(pytester, *flags, "--yourai-link-gbit=10"))
    one, two, twice = rows[1, 4], rows[2, 4], rows[2, 8]
    # 27.3 million parameters of 4 bytes over 1.125 GB/s.
    assert two.sum_time_s == pytest.approx(109e6 / 1.125e9, rel=0.05)
    assert two.step_time_s == pytest.approx(1.08 * 0.2195 + two.sum_time_s, rel=0.01)
    assert one.step_time_s == pytest.approx(0.423, rel=0.01)
    assert (one.efficiency, one.sum_time_s) == (1.0, 0.0)
    assert one.tokens_per_second is not None
    assert two.tokens_per_second is not None
    assert two.efficiency == pytest.approx(two.tokens_per_second / one.tokens_per_second / 2)
    assert two.limited_by is Limit.LINK
    assert twice.efficiency is not None
    assert two.efficiency is not None
    assert twice.efficiency > two.efficiency
    slow = by_size(table(pytester, *flags, "--yourai-link-gbit=1"))[2, 4]
    assert slow.sum_time_s == pytest.approx(10 * two.sum_time_s, rel=0.05)
    steps = ("--yourai-grad-accumulation-steps=4",)
    assert by_size(table(pytester, *flags, *steps))[2, 4].step_time_s is None, "not measured so"


def test_what_is_not_asked_for_is_the_answer_of_the_profile(pytester: pytest.Pytester) -> None:
    written(pytester)
    found = table(pytester, MEASURED, *RING)
    assert (found.rows[0].config.rank, found.rows[0].config.num_layers) == (128, 32)
    assert found.rows[0].is_measured
    narrow = table(pytester, MEASURED, *RING, "--yourai-rank=64", "--yourai-num-layers=16")
    assert narrow.rows[0].config == LoraConfig(4, 64, 16, 512)


def test_without_a_profile_memory_alone_is_estimated(pytester: pytest.Pytester) -> None:
    found = table(pytester, *RING, "--yourai-max-memory=24")
    assert (found.gbit, found.is_assumed) == (28.0, True)
    assert {each.step_time_s for each in found.rows} == {None}
    rows = by_size(found)
    assert rows[4, 2].limited_by is Limit.BATCH
    assert rows[2, 2].needs_bytes is not None
    assert rows[1, 2].needs_bytes is not None
    assert rows[2, 2].needs_bytes < rows[1, 2].needs_bytes


def test_the_budget_is_that_of_the_machine_that_measured(pytester: pytest.Pytester) -> None:
    (pytester.path / "p.json").write_text(
        json.dumps(profile(lambda it: it.update(memory_limit_gb=10.0)))
    )
    sizes = ("--yourai-batch-size=4", "--yourai-rank=64", "--yourai-num-layers=16")
    limits = {
        size: each.limited_by
        for size, each in by_size(table(pytester, MEASURED, *RING, *sizes)).items()
    }
    assert limits[1, 4] is limits[2, 8] is Limit.MEMORY
    assert limits[2, 4] is not Limit.MEMORY
    larger = table(pytester, MEASURED, *RING, *sizes, "--yourai-max-memory=64")
    assert Limit.MEMORY not in {each.limited_by for each in larger.rows}


def test_many_machines_are_a_row_of_their_own(pytester: pytest.Pytester) -> None:
    found = table(pytester, "--yourai-hosts=3", "--yourai-max-memory=64")
    assert [each.machines for each in found.rows] == [1, 2, 2, 3, 3, 4, 4]


def test_short_steps_are_not_worth_sharing(pytester: pytest.Pytester) -> None:
    def fixed(it: dict[str, Any]) -> None:
        for row in it["all_results"]:
            row["step_times_s"] = [1.0] * len(row["step_times_s"])

    (pytester.path / "p.json").write_text(json.dumps(profile(fixed)))
    found = by_size(
        table(pytester, MEASURED, *RING, "--yourai-batch-size=4", "--yourai-link-gbit=1000")
    )
    assert found[2, 4].limited_by is Limit.FIXED_COST
    assert found[2, 8].limited_by is Limit.NOTHING


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"quantization": None},
            r".*p.json is of weights that are not quantized, not of 4-bit weights: name another",
        ),
    ],
)
def test_a_profile_that_says_nothing_about_one_machine(
    pytester: pytest.Pytester, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=f"--yourai-profile: {message}"):
        table(pytester, written(pytester, **settings), *RING)


def test_a_profile_of_several_ranks_says_how_fast_their_link_is(
    pytester: pytest.Pytester,
) -> None:
    def summed(it: dict[str, Any]) -> None:
        it["settings"].update(world_size=2, distributed_backend="ring")
        for row in it["all_results"]:
            row.update(all_sum_time_s=1.0, all_sum_bytes=125_000_000)

    (pytester.path / "two.json").write_text(json.dumps(profile(summed)))
    two, sizes = "--yourai-profile=two.json", ("--yourai-rank=64", "--yourai-num-layers=16")
    found = table(pytester, written(pytester), two, *RING, *sizes)
    assert found.gbit == pytest.approx(1, rel=0.01)
    assert not found.is_assumed
    assert found.rows[1].sum_time_s == pytest.approx(0.872, rel=0.01)
    assert table(pytester, MEASURED, two, *RING, "--yourai-link-gbit=10").gbit == 10
    with pytest.raises(OptionError, match="p.json and .*p.json are both of one process: name one"):
        table(pytester, MEASURED, MEASURED, *RING)
    with pytest.raises(OptionError, match="two.json are both of several ranks: name one of them"):
        table(pytester, two, two, *RING)


def test_a_profile_of_another_model(pytester: pytest.Pytester) -> None:
    with pytest.raises(OptionError, match="p.json is of llama-8b, not of dolphin-8b: name one of"):
        table(pytester, written(pytester), *RING, model="dolphin-8b")


@pytest.mark.parametrize("flag", ["--yourai-link-gbit=1", MEASURED])
def test_a_sweep_has_no_use_for_it(pytester: pytest.Pytester, flag: str) -> None:
    options = read_options(pytester.parseconfig("--yourai-model=tiny", "--yourai-hosts=2", flag))
    with pytest.raises(OptionError, match="is for estimates of several ranks: add --yourai-reco"):
        check_combinations(options)


def test_the_file_of_estimates_has_the_rows(pytester: pytest.Pytester) -> None:
    written(pytester)
    flags = ("--yourai-model=llama-8b", MEASURED, *RING)
    found = document(recommend(read_options(pytester.parseconfig(*flags))))
    [model] = found["models"]
    assert [each["machines"] for each in model["on_machines"]] == [1, 2, 2, 4, 4]
    assert model["on_machines"][0]["efficiency"] == 1.0
    alone = document(recommend(read_options(pytester.parseconfig("--yourai-model=llama-8b"))))
    assert "on_machines" not in alone["models"][0]


def test_the_lines_say_what_the_numbers_rest_on(pytester: pytest.Pytester) -> None:
    (pytester.path / "p.json").write_text(json.dumps(quick()))
    sizes = ("--yourai-batch-size=8", "--yourai-rank=64", "--yourai-num-layers=16")
    lines = list(scaling_lines("llama-8b", table(pytester, MEASURED, *RING, *sizes)))
    assert lines[0] == "llama-8b on several machines, rank 64, layers 16"
    assert lines[1].split() == [
        *("machines", "batch", "each", "needs", "step", "gradients", "tokens/s", "efficiency"),
        *("limited", "by"),
    ]
    assert "~" in lines[2], "batch 8 was not measured"
    assert (
        "gradients: time to sum them by ring at 28 Gbit/s, as usual: --yourai-link-gbit"
        in (lines[-3])
    )
    assert lines[-2] == "~ fitted to other batches of the profile"
    assert lines[-1] == "efficiency: 100% is twice as fast on twice the machines"
    without = list(scaling_lines("m", table(pytester, *RING, "--yourai-max-memory=24")))
    assert without[-1].startswith("For the times of steps add --yourai-profile=PROFILE")
    assert without[-4].endswith("batch too small to divide")
