"""Training, with the real engine in this process; reloads are engines of their own."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten
from mlx_lm import lora
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import iterate_batches
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_tokenizer

from pytest_yourai.core.config import FineTuneType, LoraConfig, Optimizer
from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.core.recipe import Recipe
from pytest_yourai.models.source import READ_BY_DEFAULT
from pytest_yourai.plan.recipe_file import read_recipe
from pytest_yourai.worker.engine import batch_order, dataset, weights
from pytest_yourai.worker.engine.loss_check import check_loss
from pytest_yourai.worker.engine.mlx_engine import MlxEngine
from pytest_yourai.worker.protocol import (
    InvalidLossError,
    Saved,
    TrainedStep,
    TrainingEnd,
    TrainingEvent,
    TrainingRequest,
    Validated,
    Validating,
)

from support.engine_training import KEYS, losses, request, source
from support.models import TINY, make_data, make_model, write_rows
from support.training import a_step, changed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    make_model(made / "model", {**TINY, "num_hidden_layers": 2})
    make_data(made / "data", rows=11, words=20)
    return made


@pytest.fixture(autouse=True)
def usual_memory_limit() -> Iterator[None]:
    usual = mx.set_memory_limit(10**10)
    yield
    mx.set_memory_limit(usual)


def train(
    folder: Path, asked: TrainingRequest, should_stop: Callable[[], bool] = lambda: False
) -> tuple[list[TrainingEvent], TrainingEnd]:
    engine = MlxEngine()
    engine.load(source(folder))
    events: list[TrainingEvent] = []
    return events, engine.train(asked, events.append, should_stop)


def test_rows_come_in_mlx_lms_order_and_can_be_passed_over() -> None:
    rows = [([row] * (5 + row % 3), 0) for row in range(11)]
    np.random.seed(3)  # noqa: NPY002 - the generator that mlx-lm draws from
    own = iterate_batches(rows, 2, 64, loop=True)
    expected = [next(own)[0].tolist() for _ in range(13)]

    def ours(first_step: int) -> list[Any]:
        found = batch_order.in_order(3, first_step)(rows, 2, 64, loop=True, comm_group=None)
        return [next(found)[0].tolist() for _ in range(13 - first_step)]

    for first_step in (0, 1, 5, 7, 12):
        assert ours(first_step) == expected[first_step:]


FULL = LoraConfig(2, 0, 1, 32, fine_tune_type=FineTuneType.FULL, lora_keys="all")

DORA = LoraConfig(2, 4, 2, 32, fine_tune_type=FineTuneType.DORA)


@pytest.mark.parametrize(
    "config",
    [LoraConfig(2, 4, 2, 32), LoraConfig(2, 4, 2, 32, grad_checkpoint=True), FULL, DORA],
    ids=["lora", "checkpointing", "full", "dora"],
)
def test_in_several_turns_losses_are_those_of_one(
    folder: Path, tmp_path: Path, config: LoraConfig
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    one, _ = train(folder, request(folder, tmp_path / "one", config=config))
    turns = request(folder, tmp_path / "several", config=config, reload_interval=5)
    events, end = train(folder, turns)
    assert end == TrainingEnd(5, "interval")
    while end.reason != "finished":
        more, end = train(folder, dataclasses.replace(turns, first_step=end.step))
        events += more
    assert losses(events) == losses(one)
    assert [event.step for event in events if isinstance(event, TrainedStep)] == [*range(1, 13)]
    assert Saved(10) in events


class Losses(TrainingCallback):  # type: ignore[misc]  # mlx-lm is untyped
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.seen.append(train_info["train_loss"])


@pytest.mark.parametrize(
    ("config", "recipe"),
    [
        (LoraConfig(2, 4, 2, 32), Recipe(learning_rate=1e-3, seed=3)),
        (
            LoraConfig(
                *(2, 4, 2, 32),
                fine_tune_type=FineTuneType.DORA,
                optimizer=Optimizer.ADAMW,
                lora_keys="all",
                dropout=0.1,
                grad_accumulation_steps=2,
            ),
            Recipe(
                scale=8.0,
                lr_schedule={"name": "cosine_decay", "arguments": [1e-3, 100], "warmup": 3},
                optimizer_config={"adamw": {"weight_decay": 0.1}},
            ),
        ),
        (
            LoraConfig(
                *(2, 0, 1, 32),
                fine_tune_type=FineTuneType.FULL,
                optimizer=Optimizer.MUON,
                lora_keys="all",
            ),
            Recipe(learning_rate=1e-3, seed=3),
        ),
    ],
    ids=["lora", "dora", "full"],
)
@pytest.mark.parametrize("max_skipped_batches", [0, 10])
def test_losses_are_those_of_mlx_lm_itself(
    folder: Path, tmp_path: Path, config: LoraConfig, recipe: Recipe, max_skipped_batches: int
) -> None:
    skips = {"max_skipped_batches": max_skipped_batches}
    asked = request(folder, tmp_path, config=config, recipe=recipe, **skips)
    own = Losses()
    parameters: dict[str, Any] | None = None
    if config.rank:
        parameters = {"rank": config.rank, "dropout": config.dropout, "scale": recipe.scale}
        if config.lora_keys != "all":
            parameters["keys"] = list(KEYS)
    settings = {
        **lora.CONFIG_DEFAULTS,
        "model": str(folder / "model"),
        "data": asked.data,
        "train": True,
        "seed": recipe.seed,
        "fine_tune_type": str(config.fine_tune_type),
        "optimizer": str(config.optimizer),
        "batch_size": config.batch_size,
        "num_layers": config.num_layers,
        "max_seq_length": config.max_seq_length,
        "grad_accumulation_steps": config.grad_accumulation_steps,
        "iters": asked.parameters.max_steps,
        "learning_rate": recipe.learning_rate,
        "lr_schedule": recipe.lr_schedule,
        "adapter_path": str(tmp_path / "stock"),
        "steps_per_report": 1,
        "val_batches": 0,
        "lora_parameters": parameters,
    }
    settings["optimizer_config"] = {**settings["optimizer_config"], **recipe.optimizer_config}
    arguments = types.SimpleNamespace(**settings)
    model = weights.load(source(folder))
    tokenizer = load_tokenizer(folder / "model")
    rows, _, _ = lora.load_dataset(arguments, tokenizer)
    np.random.seed(recipe.seed)  # noqa: NPY002 - the generator that mlx-lm draws from
    lora.train_model(arguments, model, rows, [], own)
    events, _ = train(folder, asked)
    assert losses(events) == own.seen


def test_adapters_are_what_mlx_lm_loads(folder: Path, tmp_path: Path) -> None:
    train(folder, request(folder, tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"0000005_adapters.safetensors", "0000010_adapters.safetensors"} <= names
    model = weights.load(source(folder))
    load_adapters(model, str(tmp_path))
    adapted = model.layers[-1].self_attn.q_proj
    assert adapted.lora_a.shape == (64, 4)
    assert bool(mx.any(adapted.lora_b))


@pytest.mark.parametrize("config", [FULL, DORA], ids=["full", "dora"])
def test_what_was_trained_is_what_mlx_lm_loads(
    folder: Path, tmp_path: Path, config: LoraConfig
) -> None:
    engine = MlxEngine()
    engine.load(source(folder))
    assert engine._model is not None
    trained = engine._model.module
    engine.train(request(folder, tmp_path, config=config), lambda _: None, lambda: False)
    stored = mx.load(str(tmp_path / "adapters.safetensors"))
    assert isinstance(stored, dict)
    own = dict(tree_flatten(trained.trainable_parameters()))
    assert stored.keys() == own.keys()
    if config is FULL:
        assert {name.split(".")[2] for name in own} == {"1"}, "the last of two layers"
    loaded = weights.load(source(folder))
    load_adapters(loaded, str(tmp_path))
    tokens = mx.array([[1, 2, 3, 4]])
    trained.eval()
    loaded.eval()
    assert mx.array_equal(loaded(tokens), trained(tokens))
    assert not mx.array_equal(loaded(tokens), weights.load(source(folder))(tokens))


def test_it_stops_after_the_step_that_runs_and_saves(folder: Path, tmp_path: Path) -> None:
    asked = iter([False, False, True])
    events, end = train(folder, request(folder, tmp_path), lambda: next(asked))
    assert end == TrainingEnd(3, "stopped")
    assert events[-1] == Saved(3)


@pytest.mark.parametrize(
    ("thresholds", "reason", "step"),
    [
        ({"reload_active_bytes": 0, "usual_active_bytes": 1}, "active_memory", 1),
        ({"reload_active_bytes": 0}, "finished", 12),
        ({"reload_active_bytes": 10**10, "usual_active_bytes": 1}, "finished", 12),
        ({"reload_footprint_bytes": 1}, "footprint", 1),
    ],
)
def test_a_fresh_process_is_asked_for_where_memory_grew(
    folder: Path, tmp_path: Path, thresholds: dict[str, int], reason: str, step: int
) -> None:
    _, end = train(folder, request(folder, tmp_path, **thresholds))
    assert (end.reason, end.step) == (reason, step)


def test_validation_sees_the_same_rows_each_time(folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", rows=6, words=20)
    write_rows(data, [{"text": f"{word} fox jumps over {word}"} for word in "abc"], "valid")
    (tmp_path / "a").mkdir()
    asked = request(folder, tmp_path / "a", data=str(data), steps_per_eval=4, learning_rate=1e-30)
    events, _ = train(folder, asked)
    found = [event for event in events if isinstance(event, Validated)]
    assert [event.step for event in found] == [0, 4, 8, 12]
    assert len({event.loss for event in found}) == 1
    assert losses(events) == losses(train(folder, changed(asked, val_batches=0))[0])


def test_each_checkpoint_is_written_once(folder: Path, tmp_path: Path) -> None:
    events, _ = train(folder, request(folder, tmp_path, max_steps=10, steps_per_eval=5))
    assert [event.step for event in events if isinstance(event, Saved)] == [5, 10]


def test_a_loss_that_is_not_finite_ends_it_unsaved(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidLossError, match="the loss was nan"):
        train(folder, request(folder, tmp_path, learning_rate=1e30, save_every=100))
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_loss_that_fades_to_nothing_is_learned_by_heart_and_a_sudden_one_is_not() -> None:
    step = a_step(3, loss=0.0)
    check_loss(step, last_loss=0.01)
    with pytest.raises(InvalidLossError):
        check_loss(step, last_loss=2.0)


def test_rows_without_a_token_to_train_are_refused_first(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    long = " ".join(["fox"] * 40)
    write_rows(data, [{"prompt": long, "completion": "jumps"}] * 4)
    asked = request(folder, tmp_path, data=str(data), mask_prompt=True)
    with pytest.raises(ModelError, match=r"train\.jsonl:1: nothing is left to train: its prompt"):
        train(folder, asked)


def test_a_finished_run_is_completed_from_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    """As where it was killed after the last checkpoint, before all else."""
    data = make_data(tmp_path / "data", rows=6, words=20)
    write_rows(data, [{"text": "the quick fox"}], "valid")
    (tmp_path / "a").mkdir()
    asked = request(folder, tmp_path / "a", data=str(data), max_steps=5)
    train(folder, changed(asked, val_batches=0))
    adapters = (tmp_path / "a" / "adapters.safetensors").read_bytes()
    for name in ("adapters.safetensors", "0000005_adapters.safetensors", "adapter_config.json"):
        (tmp_path / "a" / name).unlink()
    events, end = train(folder, dataclasses.replace(asked, first_step=5))
    assert end == TrainingEnd(5, "finished")
    assert [type(event) for event in events] == [Validating, Validated]
    assert (tmp_path / "a" / "adapters.safetensors").read_bytes() == adapters
    assert (tmp_path / "a" / "0000005_adapters.safetensors").read_bytes() == adapters
    load_adapters(
        weights.load(source(folder)),
        str(tmp_path / "a"),
    )


def test_a_stop_is_heard_while_it_validates(folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", rows=6, words=20)
    write_rows(data, [{"text": f"fox {number}"} for number in range(400)], "valid")
    (tmp_path / "a").mkdir()
    asked = request(folder, tmp_path / "a", data=str(data), steps_per_eval=3, val_batches=-1)
    calls = iter(range(1000))
    # Asked after each of 200 batches before the first step, then after each step.
    events, end = train(folder, asked, lambda: next(calls) > 210)
    assert end == TrainingEnd(3, "stopped")
    assert [event.step for event in events if isinstance(event, Validated)] == [0]
    assert events[-1] == Saved(3)


def test_a_peak_over_the_limit_ends_it(folder: Path, tmp_path: Path) -> None:
    asked = request(folder, tmp_path, memory_limit_bytes=1_500_000)
    _, end = train(folder, asked)
    assert end == TrainingEnd(3, "memory_limit")
    (tmp_path / "forced").mkdir()
    forced = dataclasses.replace(asked, adapter_path=str(tmp_path / "forced"))
    _, end = train(folder, dataclasses.replace(forced, may_pass_the_limit=True))
    assert end == TrainingEnd(12, "finished")


def test_other_rows_than_it_began_with_are_refused(folder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", rows=6, words=20)
    (tmp_path / "a").mkdir()
    asked = request(folder, tmp_path / "a", data=str(data), reload_interval=2)
    train(folder, asked)
    make_data(data, rows=8, words=20)
    with pytest.raises(DataError, match="has 8 rows, and had 6"):
        train(folder, dataclasses.replace(asked, first_step=2))


def test_fewer_rows_than_a_batch_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="11 rows, fewer than a batch of 16"):
        train(folder, request(folder, tmp_path, config=LoraConfig(16, 4, 2, 32)))


def test_made_up_rows_train_too(folder: Path, tmp_path: Path) -> None:
    events, end = train(folder, request(folder, tmp_path, data=None, max_steps=3))
    assert end == TrainingEnd(3, "finished")
    assert all(event.tokens == 2 * 31 for event in events if isinstance(event, TrainedStep))


def test_training_reads_all_sets(folder: Path) -> None:
    read = dataset.read_data(str(folder / "data"), str(folder / "model"), READ_BY_DEFAULT)
    assert (len(read.rows.cached), len(read.validation)) == (11, 0)


RECIPE = """
train: true
seed: 3
batch_size: 2
num_layers: 1
max_seq_length: 32
iters: 20
steps_per_report: 1
val_batches: 0
learning_rate: 1e-3
lora_parameters: {rank: 4, scale: 1e1, dropout: 0.0}
"""


@pytest.mark.parametrize(
    "changes",
    [
        (
            "optimizer: Adafactor\ngrad_accumulation_steps: 4\n"
            "lora_parameters: {rank: 4, scale: 20.0, dropout: 5e-2}\n"
        ),
        (
            "fine_tune_type: dora\noptimizer: adamw\noptimizer_config: {adamw: {eps: 1e-6}}\n"
            "lora_parameters: {rank: 2, scale: 2.0, dropout: 0.0, keys: [self_attn.q_proj]}\n"
            "lr_schedule: {name: cosine_decay, warmup: 3, arguments: [1e-3, 20]}\n"
        ),
        "fine_tune_type: full\noptimizer: sgd\nnum_layers: -1\ngrad_checkpoint: true\n",
        "optimizer: muon\ndata: prompts\nmask_prompt: true\n",
    ],
    ids=["accumulation", "dora", "full", "mask_prompt"],
)
def test_a_recipe_file_trains_as_it_does_in_mlx_lm(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: str
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = [{"prompt": "the quick fox", "completion": f"jumps over {word}"} for word in "abcde"]
    write_rows(tmp_path / "prompts", prompts)
    given = f"model: {folder}/model\ndata: {folder}/data\n{RECIPE}\n{changes}".splitlines()
    lines = {line.partition(":")[0]: line for line in given if line}
    (tmp_path / "lora.yaml").write_text("\n".join(lines.values()))

    values = yaml.load((tmp_path / "lora.yaml").read_text(), lora.yaml_loader)  # noqa: S506 - safe
    arguments = types.SimpleNamespace(**{**lora.CONFIG_DEFAULTS, "adapter_path": "stock", **values})
    rows, _, _ = lora.load_dataset(arguments, load_tokenizer(folder / "model"))
    own = Losses()
    np.random.seed(arguments.seed)  # noqa: NPY002 - the generator that mlx-lm draws from
    model = weights.load(source(folder))
    layer = type(model.layers[0])
    # mlx-lm leaves its checkpointing in the class, for all models of this process.
    monkeypatch.setattr(layer, "__call__", layer.__call__)
    lora.train_model(arguments, model, rows, [], own)

    file = read_recipe(tmp_path / "lora.yaml")
    axes = {name: value for name, [value] in file.axes.items()}
    axes["num_layers"] %= 3  # -1 means both layers
    config = LoraConfig(**{"lora_keys": "all", **axes}).canonical()
    asked = request(
        *(folder, tmp_path),
        config=config,
        recipe=file.recipe,
        data=str(Path(file.data or "").absolute()),
        max_steps=file.training["iters"],
    )
    engine = MlxEngine()
    engine.load(dataclasses.replace(source(folder), lora_keys=(config.lora_keys,)))
    events: list[TrainingEvent] = []
    engine.train(asked, events.append, lambda: False)
    assert len(own.seen) == 20
    assert losses(events) == pytest.approx(own.seen, rel=1e-5)
