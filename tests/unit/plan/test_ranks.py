"""What it changes that several ranks train together: ids, settings, identity and predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.hosts import rank_share
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.core.results import TrialResult
from pytest_yourai.machine.environment import installed_backend
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.nearest_fits import nearest_fits
from pytest_yourai.plan.recommend import find_budget, recommend
from pytest_yourai.plan.stages import RunPlan, make_run_plan
from pytest_yourai.plan.sweep_plan import (
    SafeCheck,
    SweepPlan,
    profile_identity,
    save_calibration,
    static_predictor,
)
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.console import Console
from pytest_yourai.store.recording import read_recording
from pytest_yourai.sweep.run_results import RunResults
from pytest_yourai.sweep.validity import why_not_valid

from support.profiles import document

GB = 1_000_000_000
CPU = DeviceInfo("cpu", "x", None, None, "0", "0")
SIZES = ("--yourai-batch-size=1,2,4", "--yourai-rank=8", "--yourai-num-layers=2")
TINY = ("--yourai-model=tiny", *SIZES)


def run(pytester: pytest.Pytester, *flags: str) -> RunPlan:
    return make_run_plan(read_options(pytester.parseconfig(*flags)))


def plan(pytester: pytest.Pytester, *flags: str) -> SweepPlan:
    [stage] = run(pytester, *flags).stages
    assert stage.setup is not None
    return stage.setup.plan


def test_a_share_is_rounded_up() -> None:
    config = LoraConfig(4, 8, 2, 64)
    assert [rank_share(config, ranks).batch_size for ranks in (1, 2, 3, 4, 8)] == [4, 2, 2, 1, 1]


def test_ids_end_in_the_number_of_ranks(pytester: pytest.Pytester) -> None:
    [stage] = run(pytester, *TINY, "--yourai-hosts=2").stages
    assert next(iter(stage.configs_by_id)) == "tiny-batch1-rank8-layers2-x2"
    checks = run(pytester, "--yourai-benchmark", "--yourai-model=tiny", "--yourai-hosts=2").stages
    assert [name for each in checks for name in each.configs_by_id] == ["tiny-x2"]


@pytest.mark.parametrize("walk", [(), ("--yourai-benchmark",)])
def test_batches_none_of_which_the_ranks_divide_start_nothing(
    pytester: pytest.Pytester, walk: tuple[str, ...]
) -> None:
    flags = (*walk, "--yourai-model=tiny", "--yourai-hosts=2", "--yourai-batch-size=1,3")
    with pytest.raises(OptionError, match="--yourai-batch-size: 2 ranks do not divide 1, 3: choo"):
        run(pytester, *flags)


def test_settings_and_identity_of_one_process_are_as_before(pytester: pytest.Pytester) -> None:
    alone, two = plan(pytester, *TINY), plan(pytester, *TINY, "--yourai-hosts=2")
    keys = {"world_size", "distributed_backend"}
    assert not keys & alone.settings.as_json().keys()
    assert not keys & alone.identity["settings"].keys()
    assert (alone.settings.ranks, alone.settings.ranks_text) == (1, "one process")
    backend = "nccl" if installed_backend() == "cuda" else "ring"
    assert (two.settings.world_size, two.settings.distributed_backend) == (2, backend)
    assert two.settings.ranks_text == f"2 ranks by {backend}"
    assert two.hosts is not None
    identities = [
        profile_identity(each, CPU)
        for each in (alone, two, plan(pytester, *TINY, "--yourai-hosts=4"))
    ]
    assert len(set(identities)) == 3


def test_other_hosts_are_another_run(pytester: pytest.Pytester) -> None:
    def identity(*names: str) -> object:
        hosts = [{"ssh": name, "ips": ["10.0.0.1"]} for name in names]
        (pytester.path / "hosts.json").write_text(json.dumps(hosts))
        flags = ("--yourai-hosts=hosts.json", "--yourai-hosts-backend=ring")
        return plan(pytester, *TINY, *flags).identity

    assert identity("mac1", "mac2") == identity("mac1", "mac2") != identity("mac1", "mac3")


def test_a_replay_has_the_ranks_of_its_recording(pytester: pytest.Pytester) -> None:
    (pytester.path / "alone.json").write_text(json.dumps(document()))
    found = document(lambda it: it["settings"].update(world_size=2, distributed_backend="nccl"))
    (pytester.path / "two.json").write_text(json.dumps(found))
    replayed = plan(pytester, "--yourai-replay=two.json")
    assert (replayed.settings.world_size, replayed.settings.distributed_backend) == (2, "nccl")
    assert replayed.hosts is None
    assert read_recording(pytester.path / "two.json", 512).settings.ranks == 2
    assert plan(pytester, "--yourai-replay=alone.json").settings.world_size is None
    with pytest.raises(OptionError, match="--yourai-compare: .*one process, now 2 ranks by nccl: "):
        run(pytester, "--yourai-replay=two.json", "--yourai-compare=alone.json")


def test_a_batch_that_the_ranks_do_not_divide_is_not_valid() -> None:
    found = why_not_valid(LoraConfig(3, 8, 2, 64), Inspection(4, 1, {"qkvo": ()}), None, 2)
    assert found is not None
    assert found.reason == "not valid for 2 ranks, which do not divide a batch of 3"
    assert found.remedy == "use a batch_size that is a multiple of 2"
    assert why_not_valid(LoraConfig(4, 8, 2, 64), Inspection(4, 1, {"qkvo": ()}), None, 2) is None


def test_each_rank_needs_the_memory_of_its_share(pytester: pytest.Pytester) -> None:
    alone = static_predictor(plan(pytester, *TINY))
    two = static_predictor(plan(pytester, *TINY, "--yourai-hosts=2"))
    half, whole = LoraConfig(2, 8, 2, 64), LoraConfig(4, 8, 2, 64)
    assert two.predict(whole) == alone.predict(half) != alone.predict(whole)


def test_a_check_tries_the_safe_batch_on_each_rank() -> None:
    like, found = LoraConfig(1, 1, 1, 64), Inspection(4, 250_000, {})
    alone = SafeCheck(None, like).configuration(found, 20 * GB)
    two = SafeCheck(None, like, ranks=2)
    assert two.configuration(found, 20 * GB).batch_size == 2 * alone.batch_size
    few = Inspection(4, 250_000, {}, data=TrainingData((20,) * 3))
    assert two.configuration(few, 20 * GB).batch_size == 2
    one = Inspection(4, 250_000, {}, data=TrainingData((20,)))
    assert two.configuration(one, 20 * GB).batch_size == 2, "not valid, and shown to be"
    even = SafeCheck(None, like, 6, ranks=2).configuration(found, 20 * GB)
    assert (even.batch_size, even.grad_accumulation_steps) == (2, 3)
    odd = SafeCheck(None, like, 9, ranks=2).configuration(found, 20 * GB)
    assert odd.effective_batch_size == 9


def test_several_ranks_teach_this_machine_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    two = plan(pytester, *TINY, "--yourai-hosts=2")
    learning = static_predictor(two)
    config = LoraConfig(4, 8, 2, 64)
    learning.learn(TrialResult("tiny", config, Outcome.OK, minimum_memory_bytes=5_000_000))
    assert learning.learned
    save_calibration(two, learning.backend, learning.learned)
    assert not list(tmp_path.rglob("*.json"))


def test_what_fits_instead_is_a_batch_that_the_ranks_divide(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-model=llama-8b", "--yourai-quantize=4")
    source = plan(pytester, *flags, "--quick").source
    wanted = LoraConfig(8, 64, 16, 2048)
    found = nearest_fits(source, wanted, 16e9, backend="cuda", ranks=4)
    assert found
    assert all(each.config.batch_size % 4 == 0 for each in found)
    share = nearest_fits(source, LoraConfig(2, 64, 16, 2048), 16e9, backend="cuda")
    kept = [each.needs_bytes for each in found if each.config.batch_size == 8]
    assert kept == [each.needs_bytes for each in share if each.config.batch_size == 2]


def test_estimates_are_of_a_rank(pytester: pytest.Pytester) -> None:
    def estimated(*flags: str) -> tuple[int, int]:
        options = read_options(
            pytester.parseconfig("--yourai-model=llama-8b", "--yourai-max-memory=64", *flags)
        )
        [only] = recommend(options).models
        return only.config.batch_size, only.estimate.minimum_bytes

    batch, needs = estimated()
    assert estimated("--yourai-hosts=2") == (2 * batch, needs)
    assert estimated("--yourai-hosts=2", "--yourai-batch-size=3,4") == (
        4,
        estimated("--yourai-batch-size=2")[1],
    )
    with pytest.raises(OptionError, match="--yourai-batch-size: 2 ranks do not divide 1, 3: choo"):
        estimated("--yourai-hosts=2", "--yourai-batch-size=1,3")


def test_the_budget_of_an_estimate_is_that_of_each_machine(pytester: pytest.Pytester) -> None:
    def budget(*flags: str) -> str:
        options = read_options(pytester.parseconfig("--yourai-model=llama-8b", *flags))
        return str(find_budget(options))

    assert budget("--yourai-max-memory=64") == "64.0 GB (as given)"
    together = "--yourai-hosts=2"
    assert budget("--yourai-max-memory=64", together) == "64.0 GB (as given, on each of 2 machines)"
    assert budget(together).endswith(", on each of 2 machines)")


def test_what_is_collected_shows_the_needs_of_a_rank(pytester: pytest.Pytester) -> None:
    found = run(pytester, *TINY, "--yourai-hosts=2")
    alone = run(pytester, *TINY)

    def predictions(of: RunPlan) -> list[str]:
        console = Console(of, RunResults(of))
        return list(console.predictions(of.stages_by_id))

    two = predictions(found)
    assert re.sub(r"\s+", " ", two[1]) == (
        " tiny-batch1-rank8-layers2-x2 not valid for 2 ranks, which do not divide a batch of 1"
    )
    shares = [line.partition("  needs")[2] for line in predictions(alone)[1:]]
    assert [line.partition("  needs")[2] for line in two[2:]] == shares[:2]
