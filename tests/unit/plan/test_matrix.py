from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pytest_yourai.core.axes import AXES
from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer, Quantization
from pytest_yourai.core.errors import MatrixError
from pytest_yourai.core.paths import matrices_folder
from pytest_yourai.plan.matrix import Matrix, accumulated, combinations, layers_over, read_matrix

from support.texts import TEXTS, matching

MINIMAL = "batch_size: [1]\nlora_rank: [8]\nlora_layers: [4]\n"


def matrix(folder: Path, text: str) -> Matrix:
    path = folder / "m.yaml"
    path.write_text(text)
    return read_matrix(path)


def configs(found: Matrix, depth: int | None = None) -> list[LoraConfig]:
    usual = LoraConfig(1, 1, 1, 64)
    axes = {axis.name: found.axes.get(axis.name, (axis.of(usual),)) for axis in AXES}
    return combinations(axes, depth, found, found.effective_batch_size)


@pytest.mark.parametrize(
    ("name", "count"),
    [("quick", 12), ("full", 80), ("tiny", 12), ("low-memory", 4), ("common", 36)],
)
def test_packaged_matrices_have_the_sizes_that_they_promise(name: str, count: int) -> None:
    assert len(configs(read_matrix(matrices_folder() / f"{name}.yaml"), depth=80)) == count


def test_configurations_come_lightest_first_then_by_batch(tmp_path: Path) -> None:
    found = configs(
        matrix(tmp_path, "batch_size: [4, 1, 2]\nlora_rank: [8, 4]\nlora_layers: [2]\n")
    )
    order = [(each.throughput_score, each.batch_size) for each in found]
    assert order == sorted(order)
    assert order[0] == (8, 1)


def test_layers_over_the_depth_become_the_depth_without_doubles(tmp_path: Path) -> None:
    found = matrix(tmp_path, "batch_size: [1]\nlora_rank: [8]\nlora_layers: [2, 4, 16, 32]\n")
    assert [each.num_layers for each in configs(found, depth=4)] == [2, 4]
    assert layers_over(found.axes, 4) == [16, 32]
    assert layers_over(found.axes, None) == []
    assert layers_over({}, 4) == [], "a check has no layers of its own"


def test_doubles_in_an_axis_run_once(tmp_path: Path) -> None:
    assert len(configs(matrix(tmp_path, MINIMAL.replace("[8]", "[8, 8]")))) == 1


def test_exclude_leaves_out_what_matches_all_of_a_rule(tmp_path: Path) -> None:
    text = (
        "batch_size: [1, 2]\nlora_rank: [4, 8]\nlora_layers: [2]\n"
        "exclude:\n  - {batch_size: 2, lora_rank: 8}\n"
    )
    found = {(each.batch_size, each.rank) for each in configs(matrix(tmp_path, text))}
    assert found == {(1, 4), (1, 8), (2, 4)}


def test_exclude_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    found = matrix(tmp_path, MINIMAL + "exclude:\n  - {batch_size: 1}\n")
    with pytest.raises(MatrixError, match="exclude: it leaves no configuration"):
        configs(found)


def test_exclude_is_held_against_the_layers_that_are_left(tmp_path: Path) -> None:
    text = "batch_size: [1]\nlora_rank: [8]\nlora_layers: [2, 16]\nexclude: [{lora_layers: 4}]\n"
    assert [each.num_layers for each in configs(matrix(tmp_path, text), depth=4)] == [2]


def test_a_matrix_without_end_is_refused(tmp_path: Path) -> None:
    axis = list(range(1, 41))
    text = f"batch_size: {axis}\nlora_rank: {axis}\nlora_layers: {axis}\n"
    with pytest.raises(MatrixError, match="64,000 combinations are more than 10,000"):
        configs(matrix(tmp_path, text))


def test_fixed_fields_are_read(tmp_path: Path) -> None:
    found = matrix(
        tmp_path,
        MINIMAL
        + "max_seq_length: 1024\nlora_keys: [self_attn.q_proj]\nquantize: 4\n"
        + "grad_checkpoint: true\n",
    )
    assert found.axes["max_seq_length"] == (1024,)
    assert found.axes["lora_keys"] == ("self_attn.q_proj",)
    assert found.quantize == Quantization(4)
    assert found.axes["grad_checkpoint"] == (True,)


def test_lengths_and_checkpointing_may_be_axes(tmp_path: Path) -> None:
    text = MINIMAL + "max_seq_length: [128, 64, 128]\ngrad_checkpoint: [true, false]\n"
    found = configs(matrix(tmp_path, text))
    assert [(each.max_seq_length, each.grad_checkpoint) for each in found] == [
        (64, True),
        (64, False),
        (128, True),
        (128, False),
    ]


def test_exclude_may_name_lengths_and_checkpointing(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("batch_size: [1]", "batch_size: [1, 2]")
        + "max_seq_length: [64, 128]\ngrad_checkpoint: [false, true]\n"
        + "exclude:\n  - {max_seq_length: 64, grad_checkpoint: true}\n"
        + "  - {batch_size: 2, max_seq_length: 128, grad_checkpoint: false}\n"
    )
    found = configs(matrix(tmp_path, text))
    named = {(each.batch_size, each.max_seq_length, each.grad_checkpoint) for each in found}
    assert named == {
        (1, 64, False),
        (1, 128, False),
        (1, 128, True),
        (2, 64, False),
        (2, 128, True),
    }


def test_every_part_of_a_recipe_may_be_an_axis(tmp_path: Path) -> None:
    text = (
        "batch_size: 2\nrank: 8\nnum_layers: all\n"
        "fine_tune_type: [lora, dora, full]\noptimizer: [adamw, sgd]\n"
        "lora_keys: [qkvo, all, [mlp.up_proj, mlp.down_proj]]\ndropout: [0, 0.05]\n"
        "grad_accumulation_steps: [1, 4]\n"
        "exclude:\n  - {fine_tune_type: dora, dropout: 0.05}\n  - {num_layers: all, rank: 9}\n"
    )
    found = configs(matrix(tmp_path, text), depth=6)
    assert {each.num_layers for each in found} == {6}
    assert {each.lora_keys for each in found} == {"qkvo", "all", "mlp.down_proj,mlp.up_proj"}
    assert {each.optimizer for each in found} == {Optimizer.ADAMW, Optimizer.SGD}
    full = [each for each in found if each.fine_tune_type is FineTuneType.FULL]
    assert len(full) == 4, "rank, keys and dropout mean nothing there"
    assert {each.rank for each in full} == {0}
    assert len(found) == 4 + 24 + 12


def test_all_layers_need_a_model_that_says_how_many_it_has(tmp_path: Path) -> None:
    found = matrix(tmp_path, MINIMAL.replace("[4]", "[2, -1]"))
    assert [each.num_layers for each in configs(found, depth=3)] == [2, 3]
    with pytest.raises(MatrixError, match=r"m\.yaml: lora_layers: config.json does not tell"):
        configs(found)


def test_an_effective_batch_size_gives_each_batch_its_accumulation(tmp_path: Path) -> None:
    text = MINIMAL.replace("[1]", "[1, 3, 4, 16, 32]") + "effective_batch_size: 16\n"
    found = configs(matrix(tmp_path, text))
    steps = {each.batch_size: each.grad_accumulation_steps for each in found}
    assert steps == {1: 16, 3: 5, 4: 4, 16: 1, 32: 1}
    assert accumulated(found[0], None) is found[0]


def test_every_axis_counts_against_the_most_combinations(tmp_path: Path) -> None:
    axis = list(range(1, 18))
    text = f"batch_size: {axis}\nlora_rank: {axis}\nlora_layers: {axis}\n"
    lengths = "max_seq_length: [64, 128]\ngrad_checkpoint: [false, true]\n"
    assert len(configs(matrix(tmp_path, text))) == 4_913
    with pytest.raises(MatrixError, match="19,652 combinations are more than 10,000"):
        configs(matrix(tmp_path, text + lengths))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.yaml:1: this is not a matrix"),
        ("- 1\n", "m.yaml:1: this is not a matrix"),
        (MINIMAL.replace("lora_rank: [8]\n", ""), "m.yaml: lora_rank: this key is missing"),
        (MINIMAL.replace("[8]", "[]"), "m.yaml:2: lora_rank: "),
        (MINIMAL.replace("[8]", "[-8]"), "m.yaml:2: lora_rank.0: .* greater than or equal to 1"),
        (MINIMAL.replace("[8]", "[0]"), "m.yaml:2: lora_rank.0: "),
        (MINIMAL.replace("[8]", "[8.5]"), "m.yaml:2: lora_rank.0: "),
        (MINIMAL.replace("[8]", "[true]"), "m.yaml:2: lora_rank.0: "),
        (MINIMAL.replace("[8]", "{a: 8}"), "m.yaml:2: lora_rank: "),
        (MINIMAL.replace("[8]", "[null]"), "m.yaml:2: lora_rank.0: "),
        (MINIMAL + "rank: [8]\n", "m.yaml:4: rank: lora_rank is the same axis: leave one out"),
        (MINIMAL + "ranks: [8]\n", "m.yaml:4: ranks: unknown key: the known ones are"),
        (MINIMAL.replace("lora_rank", "lora_ranks"), "m.yaml:2: lora_ranks: unknown key: did you"),
        (MINIMAL.replace("[4]", "[0]"), "m.yaml:3: lora_layers.0: it must be at least 1, or all"),
        (MINIMAL + "optimizer: adamax\n", "m.yaml:4: optimizer: .*'adam', 'adamw'"),
        (MINIMAL + "fine_tune_type: [lora, qlora]\n", "m.yaml:4: fine_tune_type.1: "),
        (MINIMAL + "dropout: 1\n", "m.yaml:4: dropout: .* less than 1"),
        (MINIMAL + "lora_keys: [qkvo, [1]]\n", "m.yaml:4: lora_keys.1: it must be qkvo, qv, all"),
        (MINIMAL + "lora_keys: [[qkvo, a.b]]\n", "m.yaml:4: lora_keys.0: qkvo stands for a set"),
        (
            MINIMAL + "effective_batch_size: 4\ngrad_accumulation_steps: 4\n",
            "m.yaml:4: effective_batch_size: grad_accumulation_steps follow from it",
        ),
        (MINIMAL + "quantize: 7\n", "m.yaml:4: quantize: it must be none or a number of bits"),
        (MINIMAL + "lora_keys: []\n", "m.yaml:4: lora_keys: "),
        (MINIMAL + "max_seq_length: 1\n", "m.yaml:4: max_seq_length: .* equal to 2"),
        (MINIMAL + "max_seq_length: []\n", "m.yaml:4: max_seq_length: .* at least 1 item"),
        (MINIMAL + "max_seq_length:\n  - 64\n  - 1\n", "m.yaml:6: max_seq_length.1: "),
        (MINIMAL + "max_seq_length: {a: 1}\n", "m.yaml:4: max_seq_length: .* integer"),
        (MINIMAL + "grad_checkpoint: 1\n", "m.yaml:4: grad_checkpoint: .* boolean"),
        (MINIMAL + "grad_checkpoint: [true, 0]\n", "m.yaml:4: grad_checkpoint.1: .* boolean"),
        (MINIMAL + "exclude:\n  - {grad_checkpoint: 1}\n", "exclude.0.grad_checkpoint: "),
        (MINIMAL + "exclude:\n  - {}\n", "m.yaml:5: exclude.0: .*at least one axis"),
    ],
)
def test_mistakes_are_named_by_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        matrix(tmp_path, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS | matching(r"(batch_size|lora_rank|lora_layers): .*\n"))
def test_no_text_gives_anything_but_a_matrix_or_a_matrix_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert configs(read_matrix(path))
    except MatrixError as problem:
        assert str(path) in str(problem)  # noqa: PT017 - both ways are right, nothing else is
