"""The arguments of another run: what is replaced goes, with its value, and nothing else."""

from __future__ import annotations

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.source import ModelSource
from pytest_yourai.plan.arguments import changed_arguments, without_flags
from pytest_yourai.plan.nearest_fits import nearest_fits


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["-x", "--yourai-model=a", "tests"], ["-x", "tests"]),
        (["-x", "--yourai-model", "a", "tests"], ["-x", "tests"]),
        (["--yourai-recommend", "tests"], ["tests"]),
        (["--quick", "--yourai-model-b=1"], ["--quick", "--yourai-model-b=1"]),
        (["--yourai-model"], []),
    ],
)
def test_a_flag_goes_with_its_value(arguments: list[str], kept: list[str]) -> None:
    assert without_flags(arguments, "--yourai-model", "--yourai-recommend") == kept


def test_a_short_flag_goes_with_what_is_attached_to_it() -> None:
    arguments = ["-kbatch1", "-k", "rank4", "--kind", "-x"]
    assert without_flags(arguments, "-k") == ["--kind", "-x"]


def test_the_sizes_and_what_is_changed_are_replaced() -> None:
    architecture = read_presets(packaged_models())["llama-8b"].architecture or {}
    source = ModelSource("m", architecture, None, True, Quantization(8), ("qkvo",))
    wanted = LoraConfig(4, 16, 16, 2048)
    fits = nearest_fits(source, wanted, 16e9, backend="cuda")
    smaller = next(each for each in fits if each.config.batch_size < 4)
    given = ["-v", "--yourai-batch-size", "4,8", "--yourai-effective-batch-size=4", "--quick"]
    made = changed_arguments(given, smaller)
    assert made[:2] == ["-v", "--quick"]
    assert f"--yourai-batch-size={smaller.config.batch_size}" in made
    assert f"--yourai-grad-accumulation-steps={4 // smaller.config.batch_size}" in made
    assert {"--yourai-rank=16", "--yourai-num-layers=16"} <= set(made)
    assert len(made) == len(set(made))
    same_batch = next(each for each in fits if each.config.batch_size == 4)
    assert "--yourai-effective-batch-size=4" in changed_arguments(given, same_batch)
