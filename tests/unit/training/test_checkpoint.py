"""What a checkpoint records about its run, and what a resumed run may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import Quantization
from pytest_yourai.core.errors import CheckpointError
from pytest_yourai.training.checkpoint import (
    check_agreement,
    checkpoint_to_resume,
    read_checkpoint,
)
from pytest_yourai.training.resolve_settings import resolve_options
from pytest_yourai.training.start import begin
from pytest_yourai.worker.checkpoint_file import ADAPTERS, BEST_FOLDER, CHECKPOINT, PREVIOUS

from support.models import TINY, make_model
from support.training import asked, rows_folder, saved, write_checkpoint


def agree(folder: Path, checkpoint: dict[str, Any] | None = None, **options: Any) -> None:
    path = saved(folder, **(checkpoint or {}))
    begin(asked(folder, adapter_path=path, resume=True, **options))


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    found = read_checkpoint(saved(tmp_path))
    assert found is not None
    assert (found.step, found.max_steps, found.model, found.rank) == (40, 200, "tiny", 4)
    assert found.lora_keys == "self_attn.q_proj,self_attn.v_proj"
    assert found.grad_checkpoint is None


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        ({"lora_keys": ["self_attn.v_proj", "self_attn.q_proj"]}, "qv"),
        ({"lora_keys": ["mlp.up_proj", "mlp.down_proj"]}, "mlp.down_proj,mlp.up_proj"),
        ({"lora_keys": None}, "qkvo"),
    ],
)
def test_one_of_an_older_version_has_the_paths_of_its_keys(
    tmp_path: Path, stored: dict[str, Any], keys: str
) -> None:
    found = read_checkpoint(saved(tmp_path, **stored))
    assert found is not None
    assert found.lora_keys == keys
    assert found.recipe is None


def test_without_a_file_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("", "training: invalid JSON"),
        ("{}", r"training\.batch_size: field required"),
        ('{"batch_size": "2"}', r"training\.batch_size: .*integer"),
        ('{"batch_size": 0}', r"training\.batch_size: .*greater than or equal to 1"),
    ],
)
def test_a_file_without_our_metadata_is_refused(
    tmp_path: Path, metadata: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(write_checkpoint(tmp_path, metadata))


@pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
def test_a_torn_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be continued from: it is damaged"):
        read_checkpoint(tmp_path)


def test_one_that_is_missing_beside_the_one_before_it_is_not_started_anew(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / CHECKPOINT).rename(folder / PREVIOUS)
    remedy = "cannot be continued from: No such file or directory; continue with --resume from"
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=remedy):
            checkpoint_to_resume(asked(tmp_path, adapter_path=folder, resume=resume))


def test_there_must_be_one_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--resume: .* has no checkpoint"):
        checkpoint_to_resume(asked(tmp_path, resume=True))


def test_a_new_run_overwrites_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="at step 40 of 200.*: add --resume, or name"):
        checkpoint_to_resume(asked(tmp_path, adapter_path=saved(tmp_path)))


@pytest.mark.parametrize("folder", [".", BEST_FOLDER])
def test_adapters_of_somebody_else_stay_too(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / ADAPTERS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="has adapters without a checkpoint"):
        checkpoint_to_resume(asked(tmp_path, adapter_path=tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4}, "--batch-size: .* with 2, not with 4"),
        ({"rank": 8}, "--lora-rank: .* with 4, not with 8"),
        ({"num_layers": 4}, "--lora-layers: .* with 3, not with 4"),
        ({"max_seq_length": 64}, "--seq-length: .* with 32, not with 64"),
        ({"seed": 0}, "--seed: .* with 7, not with 0"),
        ({"keep": "best"}, "--keep: .* with both, not with best: leave it out"),
        ({"max_grad_norm": 2.0}, "--max-grad-norm: .* with 1.0, not with 2.0"),
        ({"learning_rate": 1e-5}, "--learning-rate: .* with 2e-05, not with 1e-05"),
        ({"lora_keys": "self_attn.q_proj"}, "--lora-keys: .*, not with self_attn.q_proj: leave"),
        ({"lora_keys": "all"}, "--lora-keys: .* with self_attn.q_proj,.*, not with all: leave"),
        ({"max_steps": 39}, "--max-steps: the checkpoint is at step 40 already"),
        ({"model": "llama-8b"}, "--model: .* are of tiny, not of llama-8b"),
    ],
)
def test_what_would_change_the_run_is_refused_by_its_flag(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        agree(tmp_path, {"keep": "both", "max_grad_norm": 1.0}, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": "both", "patience": 3, "max_grad_norm": 1.0, "max_skipped_batches": 0},
        {"max_steps": 500, "save_every": 7, "reload_interval": 3, "memory_limit_bytes": 10**9},
        {"grad_checkpoint": True},
        {"batch_size": 2, "rank": 4, "seed": 7},
        {"lora_keys": "self_attn.q_proj,self_attn.v_proj"},
        {"lora_keys": "qv"},
        {"mask_prompt": True},
    ],
)
def test_what_does_not_change_it_is_taken(tmp_path: Path, options: dict[str, Any]) -> None:
    agree(tmp_path, **options)


def test_adapters_on_more_layers_than_there_are_are_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="are on 5 layers, and tiny has 4"):
        agree(tmp_path, {"num_layers": 5})


def test_data_is_the_same_by_whatever_path_and_has_as_many_rows(tmp_path: Path) -> None:
    data = rows_folder(tmp_path / "data")
    found = read_checkpoint(saved(tmp_path, data=str(data), rows=8))
    assert found is not None
    model = begin(asked(tmp_path / "new")).model
    around = asked(tmp_path, data=str(tmp_path / "data" / ".." / "data"))
    check_agreement(found, around, model, 8)
    with pytest.raises(CheckpointError, match="trained on 8 rows, and there are 9 now"):
        check_agreement(found, around, model, 9)
    other = asked(tmp_path, data=str(rows_folder(tmp_path / "other")))
    with pytest.raises(CheckpointError, match="--data: .*/data, not with .*/other"):
        check_agreement(found, other, model, 8)


def test_data_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="was trained on /gone, and there is no such folder"):
        agree(tmp_path, {"data": "/gone"})


def test_what_weights_were_quantized_to_must_stay(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--quantize: the checkpoint was trained with 4-bit"):
        agree(tmp_path, {"quantize": "4"}, quantize=Quantization(8))
    agree(tmp_path, {"quantize": "4"}, quantize=Quantization(4))


def test_a_run_whose_steps_are_all_done_may_be_finished_or_go_on(tmp_path: Path) -> None:
    done = {"step": 30, "max_steps": 30}
    agree(tmp_path, done)
    agree(tmp_path, done, max_steps=30)
    agree(tmp_path, done, max_steps=31)
    with pytest.raises(CheckpointError, match="--max-steps: the checkpoint is at step 30 already"):
        agree(tmp_path, done, max_steps=29)


def of_weights(folder: Path) -> dict[str, Any]:
    """Metadata of a checkpoint that was trained on the weights in that folder."""
    data = str(rows_folder(folder.parent / "rows"))
    options = asked(folder.parent / "first", model=str(folder), weights="local", data=data)
    return dict(resolve_options(begin(options), None).about)


def test_the_model_is_known_by_its_weights_and_not_by_its_name(tmp_path: Path) -> None:
    data = str(rows_folder(tmp_path / "data"))
    trained_on = make_model(tmp_path / "one" / "mine", TINY)
    local = {"weights": "local", "data": data}
    said = {**of_weights(trained_on), "model": "mine", "data": data, "rows": 8}
    trained_on.rename(tmp_path / "renamed")
    agree(tmp_path, said, model=str(tmp_path / "renamed"), **local)
    same_name = make_model(tmp_path / "other" / "mine", TINY, seed=2)
    with pytest.raises(CheckpointError, match=r"--model: .* of another mine \(its config.json or"):
        agree(tmp_path, said, model=str(same_name), **local)


def test_made_up_weights_and_real_ones_do_not_replace_each_other(tmp_path: Path) -> None:
    mine = str(make_model(tmp_path / "mine", TINY))
    with pytest.raises(CheckpointError, match="--weights: .* real weights: leave"):
        agree(tmp_path, of_weights(Path(mine)), model=mine)
    data = str(rows_folder(tmp_path / "data"))
    with pytest.raises(CheckpointError, match="--weights: .* made-up weights: add --weights synth"):
        agree(tmp_path, model=mine, weights="local", data=data)
