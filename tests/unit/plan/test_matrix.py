from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_yourai.core.config import LoraConfig, Quantization, RowShape
from pytest_yourai.core.errors import MatrixError
from pytest_yourai.core.paths import matrices_folder
from pytest_yourai.plan.matrix import Matrix, read_matrix

MINIMAL = "batch_size: [1]\nlora_rank: [8]\nlora_layers: [4]\n"


def matrix(folder: Path, text: str) -> Matrix:
    path = folder / "m.yaml"
    path.write_text(text)
    return read_matrix(path)


def configs(found: Matrix, depth: int | None = None) -> list[LoraConfig]:
    shapes = [
        RowShape(length, checkpoint)
        for length in found.max_seq_length or [64]
        for checkpoint in found.grad_checkpoint or [False]
    ]
    return found.configs(shapes, depth)


@pytest.mark.parametrize(
    ("name", "count"), [("quick", 12), ("full", 80), ("tiny", 12), ("low-memory", 4)]
)
def test_packaged_matrices_have_the_sizes_that_they_promise(name: str, count: int) -> None:
    assert len(configs(read_matrix(matrices_folder() / f"{name}.yaml"))) == count


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
    assert found.layers_over(4) == [16, 32]
    assert found.layers_over(None) == []


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
    assert found.max_seq_length == (1024,)
    assert found.lora_keys == ("self_attn.q_proj",)
    assert found.quantize == Quantization(4)
    assert found.grad_checkpoint == (True,)


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
        (MINIMAL.replace("[8]", "8"), "m.yaml:2: lora_rank: .* list"),
        (MINIMAL.replace("[8]", "[null]"), "m.yaml:2: lora_rank.0: "),
        (MINIMAL + "rank: [8]\n", "m.yaml:4: rank: unknown key"),
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
@given(text=st.text() | st.from_regex(r"(batch_size|lora_rank|lora_layers): .*\n", fullmatch=True))
def test_no_text_gives_anything_but_a_matrix_or_a_matrix_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        assert configs(read_matrix(path))
    except MatrixError as problem:
        assert str(path) in str(problem)  # noqa: PT017 - both ways are right, nothing else is
