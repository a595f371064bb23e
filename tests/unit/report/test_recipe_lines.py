"""The header tells what a sweep trains where that is not the usual, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.models.architecture import InspectedShapes
from pytest_yourai.models.layer_shapes import LinearShape
from pytest_yourai.models.source import Inspection
from pytest_yourai.plan.stages import RunPlan, make_run_plan
from pytest_yourai.plugin.read_options import read_options
from pytest_yourai.report.recipe_lines import recipe_lines

QV = ("self_attn.q_proj", "self_attn.v_proj")


def lines(
    pytester: pytest.Pytester, *flags: str, layers: dict[str, tuple[int, ...]] | None = None
) -> list[str]:
    """The lines of a sweep of tiny, whose worker found two modules of 8 inputs and outputs."""
    plan: RunPlan = make_run_plan(read_options(pytester.parseconfig(*flags)))
    [stage] = plan.stages
    assert stage.setup is not None
    linears = tuple(LinearShape(path, 8, 8) for path in QV)
    built = InspectedShapes(1000, linears, (32,) * 4)
    chosen = stage.setup.plan.source.lora_keys
    found = Inspection(
        4,
        279_104,
        dict.fromkeys(chosen, QV),
        dict.fromkeys(chosen, built),
        module_layers=layers or {},
    )
    return list(recipe_lines(stage.setup, stage.setup.plan.configs, found, plan.options))


def test_the_usual_is_not_told(pytester: pytest.Pytester) -> None:
    sizes = ("--yourai-batch-size=1,2", "--yourai-rank=8,16", "--yourai-num-layers=2,all")
    assert lines(pytester, "--yourai-model=tiny", *sizes) == [
        f"Trained: adapters on {', '.join(QV)}; 512 to 2,048 of 279,104 parameters"
    ]


def test_layers_that_differ_are_told_apart(pytester: pytest.Pytester) -> None:
    sizes = ("--yourai-batch-size=1", "--yourai-rank=8", "--yourai-num-layers=1,2,3")
    told = lines(
        pytester, "--yourai-model=tiny", *sizes, layers={QV[0]: (0, 3), QV[1]: (0, 1, 2, 3)}
    )
    [trained] = told
    assert f"adapters on {QV[1]}; {QV[0]} (in layers 0, 3); " in trained


def test_layers_without_adapters_are_told_though_the_score_counts_them(
    pytester: pytest.Pytester,
) -> None:
    sizes = ("--yourai-batch-size=1", "--yourai-rank=8", "--yourai-num-layers=1,4")
    told = lines(pytester, "--yourai-model=tiny", *sizes, layers=dict.fromkeys(QV, (1, 3)))
    assert told[1] == (
        "Note: with qkvo 2 of the last 4 layers have no adapters (0, 2), though the score counts "
        "them; --yourai-lora-keys all adapts each layer"
    )


def test_values_come_from_flags_and_from_the_matrix(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    matrix = tmp_path / "mine.yaml"
    matrix.write_text(
        "{batch_size: [1, 2], lora_rank: [8], lora_layers: [4], fine_tune_type: [lora, dora, full],"
        " lora_keys: [qv, all], optimizer: sgd, effective_batch_size: 4}"
    )
    told = lines(
        pytester,
        "--yourai-model=tiny",
        f"--yourai-matrix={matrix}",
        "--yourai-dropout=0.05",
        "--yourai-grad-checkpoint",
    )
    recipe, trained = told
    assert recipe == (
        "Recipe: type full/lora/dora, optimizer sgd, keys qv/all, effective batch size 4 "
        "(mine.yaml); dropout 0.05, checkpoint on (flags)"
    )
    numbers = "1,024 to 246,272 of 279,104 parameters"
    assert trained == f"Trained: adapters on qv or all; whole layers; {numbers}"


def test_with_a_recipe_everything_is_told(pytester: pytest.Pytester, tmp_path: Path) -> None:
    recipe = tmp_path / "lora.yaml"
    recipe.write_text("{model: tiny, fine_tune_type: dora, effective_batch_size: 8}")
    told, trained = lines(pytester, f"--yourai-config={recipe}", "--yourai-optimizer=adamw")
    assert told == (
        "Recipe: type dora, effective batch size 8 (lora.yaml); optimizer adamw (flags); keys all, "
        "dropout 0 (mlx-lm's default); seq 64 (preset)"
    )
    assert trained.endswith("; 1,088 of 279,104 parameters"), "and magnitudes"
    effective = lines(pytester, "--yourai-model=tiny", "--quick", "--yourai-effective-batch-size=8")
    assert effective[0] == "Recipe: effective batch size 8 (flags)"


def test_commands_that_follow_train_the_same(pytester: pytest.Pytester) -> None:
    flags = (
        "--yourai-seq-length=64,128",
        "--yourai-grad-checkpoint",
        "--yourai-fine-tune-type=dora,lora",
        "--yourai-lora-keys=q_proj,v_proj",
        "--yourai-dropout=0.05",
        "--yourai-effective-batch-size=8",
    )
    options = read_options(pytester.parseconfig("--yourai-model=tiny", "--yourai-rank=8", *flags))
    assert options.recipe_flags == flags


def test_ranks_that_train_together_are_named(pytester: pytest.Pytester) -> None:
    flags = ("--yourai-model=tiny", "--yourai-hosts=2", "--yourai-hosts-backend=ring")
    [first, *_] = lines(pytester, *flags, "--quick")
    assert first.startswith("Together: 2 ranks by ring: batches and tokens/s are of all together")
