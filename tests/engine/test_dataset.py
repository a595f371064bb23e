"""Real rows, tokenizers and batches of mlx-lm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.tuner.datasets import CacheDataset, TextDataset
from mlx_lm.tuner.trainer import default_loss, iterate_batches

from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.models.dataset_lengths import Epoch
from pytest_yourai.worker.engine.dataset import TrainingRows, read_data

from support.models import make_tokenizer, text_of, write_rows


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return str(folder)


def read(folder: Path, rows: list[dict[str, Any]], tokenizer: str) -> TrainingRows:
    return read_data(str(write_rows(folder, rows)), tokenizer)


def said(folder: Path, rows: list[dict[str, Any]], tokenizer: str) -> str:
    """What is this model's own problem with the data, and no mistake in the data."""
    with pytest.raises(ModelError) as caught:
        read(folder, rows, tokenizer)
    return str(caught.value)


class _Letters:
    """One token a letter."""

    eos_token_id = 1

    def encode(self, text: str) -> list[int]:
        return [1] * len(text)


def _no_logits(inputs: mx.array) -> mx.array:
    return mx.zeros((*inputs.shape, 2))


ROWS = st.lists(st.tuples(st.integers(2, 140), st.integers(0, 2)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 8), st.sampled_from([2, 20, 33, 64, 97, 512]))
def test_an_epoch_is_what_mlx_lm_makes_of_the_rows(
    rows: list[tuple[int, int]], batch_size: int, max_seq_length: int
) -> None:
    """Numbers of keys differ too: mlx-lm orders the rows by these."""
    texts = [{"text": "a" * tokens, **dict.fromkeys("bc"[:more])} for tokens, more in rows]
    found = TextDataset(texts, _Letters())
    epoch = TrainingRows(found, [tokens for tokens, _ in rows]).summary()
    if len(rows) < batch_size:
        assert epoch.epoch(batch_size, max_seq_length).batches == 0
        return
    batches = list(iterate_batches(CacheDataset(found), batch_size, max_seq_length))
    trained = [default_loss(_no_logits, *batch)[1].item() for batch in batches]
    assert epoch.epoch(batch_size, max_seq_length) == Epoch(
        batches=len(batches),
        trained_tokens=sum(trained),
        positions=sum(tokens[:, 1:].size for tokens, _ in batches),
        padded_shapes=len({tokens.shape for tokens, _ in batches}),
    )


def test_lengths_are_those_of_the_tokenizer(tmp_path: Path, tokenizer: str) -> None:
    rows = [{"text": text_of(tokens)} for tokens in (5, 90, 12)]
    assert read(tmp_path, rows, tokenizer).summary().lengths == (5, 90, 12)


def test_all_formats_are_read_with_the_chat_template(tmp_path: Path, tokenizer: str) -> None:
    chat = {"messages": [{"role": "user", "content": "fox fox"}], "tools": [{"type": "function"}]}
    completion = {"prompt": "fox", "completion": "dog dog"}
    assert read(tmp_path / "chat", [chat], tokenizer).summary().lengths == (2,)
    assert read(tmp_path / "completion", [completion], tokenizer).summary().lengths == (3,)


def test_the_longest_rows_come_first_and_together(tmp_path: Path, tokenizer: str) -> None:
    lengths = (5, 90, 12, 40, 300, 20, 60)
    found = read(tmp_path, [{"text": text_of(tokens)} for tokens in lengths], tokenizer)
    batches = found.longest_batches(9, batch_size=2, max_seq_length=100)
    assert [tokens.shape for tokens, _ in batches] == [(2, 100), (2, 65), (2, 33)]
    ends: list[Any] = [spans[:, 1].tolist() for _, spans in batches]
    assert [sorted(each) for each in ends] == [[90, 100], [40, 60], [12, 20]]
    assert len(found.longest_batches(2, 2, 100)) == 2


def test_too_few_rows_for_a_batch_are_mlx_lms_error(tmp_path: Path, tokenizer: str) -> None:
    found = read(tmp_path, [{"text": "a fox"}], tokenizer)
    with pytest.raises(ValueError, match="Dataset must have at least batch_size=2 examples"):
        found.longest_batches(3, 2, 64)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ""}, "its text gives no tokens"),
        ({"text": "</s>"}, "it has 1 token: there is nothing to predict"),
        ({"text": "\ud800"}, "it cannot be tokenized (TypeError: "),
    ],
)
def test_a_row_that_gives_nothing_to_train_on_is_named(
    tmp_path: Path, tokenizer: str, row: dict[str, Any], reason: str
) -> None:
    message = said(tmp_path, [{"text": "a fox"}, row], tokenizer)
    assert message.startswith(f"--yourai-data: {tmp_path}/train.jsonl:2: {reason}")
    assert message.endswith(": fix or remove the line")


def test_a_conversation_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    template = tmp_path / "chat_template.jinja"
    assert template.exists()
    template.write_text(
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('begin with the user') }}"
        "{% endif %}{% for m in messages %}{{ m['content'] }} {% endfor %}"
    )
    rows = [
        {"messages": [{"role": role, "content": "a fox"}]} for role in ("user", "user", "assistant")
    ]
    message = said(tmp_path / "data", rows, str(tmp_path))
    assert "train.jsonl:3: it cannot be tokenized (TemplateError: begin with the user)" in message


def test_conversations_need_a_chat_template(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    rows = [{"prompt": "a", "completion": "fox"}]
    message = said(tmp_path / "data", rows, str(tmp_path))
    assert f"the tokenizer in {tmp_path} no chat template" in message
    assert "give rows as text" in message


def test_a_hugging_face_data_set_needs_its_package(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"someone/rows .*pip install 'pytest-yourai\[data\]'"):
        read_data("someone/rows", tokenizer)


def test_a_mistake_in_the_data_is_not_blamed_on_the_model(tmp_path: Path, tokenizer: str) -> None:
    bad = write_rows(tmp_path, [{"text": "a fox"}, {"text": 3}])
    # The data is looked at before the tokenizer.
    for folder in (tokenizer, str(tmp_path / "no tokenizer")):
        with pytest.raises(DataError, match=r"train\.jsonl:2: text must be a string"):
            read_data(str(bad), folder)


def test_a_tokenizer_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    message = said(tmp_path / "data", [{"text": "a"}], str(tmp_path))
    assert f"the tokenizer in {tmp_path} cannot be loaded" in message
