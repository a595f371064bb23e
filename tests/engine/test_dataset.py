"""Real rows, tokenizers and batches of mlx-lm."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.tuner.datasets import CacheDataset, TextDataset
from mlx_lm.tuner.trainer import default_loss, iterate_batches
from mlx_lm.utils import load_tokenizer

from pytest_yourai.core.errors import DataError, ModelError
from pytest_yourai.models.dataset_lengths import Epoch
from pytest_yourai.models.source import READ_BY_DEFAULT, RowReading
from pytest_yourai.worker.engine import row_checks
from pytest_yourai.worker.engine.dataset import ReadData, read_data
from pytest_yourai.worker.engine.model_folder import make_tokenizer
from pytest_yourai.worker.engine.row_checks import Progress
from pytest_yourai.worker.engine.training_rows import TrainingRows
from pytest_yourai.worker.protocol import RowsRead

from support.models import text_of, write_rows


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return str(folder)


def read(folder: Path, rows: list[dict[str, Any]], tokenizer: str) -> TrainingRows:
    return read_data(str(write_rows(folder, rows)), tokenizer, READ_BY_DEFAULT).rows


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
        ({"text": "\ud800"}, "it cannot be tokenized (TypeError: "),
    ],
)
def test_a_row_that_gives_nothing_to_train_on_is_named(
    tmp_path: Path, tokenizer: str, row: dict[str, Any], reason: str
) -> None:
    message = said(tmp_path, [{"text": "a fox"}, row], tokenizer)
    assert message.startswith(f"--yourai-data: {tmp_path}/train.jsonl:2: {reason}")
    assert message.endswith(
        ": fix or remove the line, or leave such rows out with --yourai-bad-rows skip"
    )


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
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not installed; a folder of the project's of this name is not it.
    (tmp_path / "datasets").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"someone/rows .*pip install 'pytest-yourai\[data\]'"):
        read_data("someone/rows", tokenizer, READ_BY_DEFAULT)


DATASETS = """
import json, pathlib

def load_dataset(path, split, name="rows"):
    rows = json.loads(pathlib.Path(path, f"{name}.json").read_text())
    return rows[:-1] if split.startswith("train[:") else rows[-1:]
"""
"""A stand-in for the package, which has the same function."""


def test_data_sets_of_a_recipe_are_read_as_mlx_lm_does(
    tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets.py").write_text(DATASETS)
    (tmp_path / "datasets-4.0.0.dist-info").mkdir()
    (tmp_path / "datasets-4.0.0.dist-info" / "METADATA").write_text("Name: datasets\nVersion: 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [{"question": "a fox", "answer": "jumps over"}] * 3 + [{"question": "a", "answer": "a"}]
    (tmp_path / "qa.json").write_text(json.dumps(rows))
    (tmp_path / "rows.json").write_text(json.dumps([{"words": "the quick fox"}] * 2))
    asked = {
        "path": str(tmp_path),
        "prompt_feature": "question",
        "completion_feature": "answer",
        "config": {"name": "qa"},
    }
    try:
        one = read_data("hf", tokenizer, RowReading(64, mask_prompt=True, hf_dataset=(asked,)))
        assert (one.summary().rows, one.summary().validation_rows) == (3, 1)
        tokens, offset = one.rows.cached[0]
        assert 0 < offset < len(tokens)
        text = {"path": str(tmp_path), "text_feature": "words"}
        both = read_data("hf", tokenizer, RowReading(64, hf_dataset=(asked, text)))
        assert (both.summary().rows, both.summary().validation_rows) == (4, 2)
        assert asked.keys() == {"path", "prompt_feature", "completion_feature", "config"}
        with pytest.raises(DataError, match=r"hf cannot be read as mlx-lm does \(ValueError: Prom"):
            read_data("hf", tokenizer, RowReading(64, mask_prompt=True, hf_dataset=(text,)))
    finally:
        sys.modules.pop("datasets", None)


def test_a_mistake_in_the_data_is_not_blamed_on_the_model(tmp_path: Path, tokenizer: str) -> None:
    bad = write_rows(tmp_path, [{"text": "a fox"}, {"words": 3}])
    # The data is looked at before the tokenizer.
    for folder in (tokenizer, str(tmp_path / "no tokenizer")):
        with pytest.raises(DataError, match=r"train\.jsonl:2: it has no text"):
            read_data(str(bad), folder, READ_BY_DEFAULT)


def test_a_tokenizer_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    message = said(tmp_path / "data", [{"text": "a"}], str(tmp_path))
    assert f"the tokenizer in {tmp_path} cannot be loaded" in message


FOX: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a fox"}, {"role": "assistant", "content": "a dog"}]
}


def test_the_code_of_a_tokenizer_runs_with_trust_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ran = tmp_path / "tokenizer", tmp_path / "ran"
    make_tokenizer(folder)
    (folder / "tokenization_own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class OwnTokenizer(PreTrainedTokenizerFast): pass\n"
    )
    settings_file = folder / "tokenizer_config.json"
    own = "tokenization_own.OwnTokenizer"
    changed = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [own, own]}}
    settings_file.write_text(json.dumps({**json.loads(settings_file.read_text()), **changed}))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    data = str(write_rows(tmp_path / "data", [{"text": "a fox"}]))
    with pytest.raises(ModelError, match="auto_map: the tokenizer brings Python code of its own"):
        read_data(data, str(folder), READ_BY_DEFAULT)
    assert not ran.exists()
    read = read_data(data, str(folder), READ_BY_DEFAULT, trust_remote_code=True)
    assert len(read.rows.cached) == 1
    assert ran.exists()


def examined(
    folder: Path, tokenizer: str, reading: RowReading, vocabulary: int | None = None
) -> ReadData:
    return read_data(str(folder), tokenizer, reading, vocabulary)


def test_ids_that_the_model_does_not_embed_are_named(tmp_path: Path, tokenizer: str) -> None:
    """MLX checks no bounds: training on them is random."""
    data = write_rows(tmp_path, [{"text": "a fox"}, {"text": "fox dog"}])
    highest = max(load_tokenizer(tokenizer).encode("a fox dog"))
    examined(data, tokenizer, READ_BY_DEFAULT, highest + 1)
    with pytest.raises(ModelError, match=rf"has the id {highest}, and the model embeds {highest}"):
        examined(data, tokenizer, READ_BY_DEFAULT, highest)


def test_ids_that_are_cut_off_do_not_count(tmp_path: Path, tokenizer: str) -> None:
    known, unknown = sorted(("fox", "dog"), key=load_tokenizer(tokenizer).encode)
    data = write_rows(tmp_path, [{"text": f"{known} {known} {unknown}"}])
    limit = load_tokenizer(tokenizer).encode(unknown)[0]
    examined(data, tokenizer, RowReading(2), limit)
    with pytest.raises(ModelError, match=f"the token '{unknown}' has the id {limit}"):
        examined(data, tokenizer, RowReading(3), limit)


@pytest.mark.parametrize("name", ["train", "valid"])
def test_rows_with_nothing_to_train_after_masking_and_cutting(
    tmp_path: Path, tokenizer: str, name: str
) -> None:
    long = {"prompt": "fox " * 40, "completion": "a dog"}
    write_rows(tmp_path, [FOX_PROMPT])
    write_rows(tmp_path, [FOX_PROMPT, long], name)
    examined(tmp_path, tokenizer, RowReading(32))
    examined(tmp_path, tokenizer, RowReading(64, mask_prompt=True))
    with pytest.raises(ModelError, match=rf"{name}\.jsonl:2: nothing is left to train: its prompt"):
        examined(tmp_path, tokenizer, RowReading(32, mask_prompt=True))


FOX_PROMPT = {"prompt": "a fox", "completion": "a dog"}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 70), st.integers(0, 70), st.sampled_from([2, 20, 33, 64]))
def test_mlx_lm_trains_on_a_row_exactly_if_it_is_not_refused(
    prompt: int, completion: int, max_seq_length: int
) -> None:
    tokens = [1] * (prompt + completion)
    rows = _Given([(tokens, prompt)])
    reading = RowReading(max_seq_length, mask_prompt=True)
    found = row_checks.check_rows(rows, None, "", reading, 2, Progress(1, lambda _: None))
    assert found.lengths == (len(tokens),)
    if tokens:
        [batch] = iterate_batches(CacheDataset(rows), 1, max_seq_length)
        assert bool(default_loss(_no_logits, *batch)[1].item()) is not bool(found.problems)
    else:
        assert found.problems == {0: "it gives no tokens"}


class _Given:
    """Rows that are tokenized already, as one of mlx-lm's data sets."""

    def __init__(self, rows: list[tuple[list[int], int]]) -> None:
        self._rows = rows

    def process(self, row: dict[str, int]) -> tuple[list[int], int]:
        return self._rows[row["text"]]

    def __getitem__(self, place: int) -> dict[str, int]:
        return {"text": place}

    def __len__(self) -> int:
        return len(self._rows)


def test_what_mlx_lm_trains_is_not_refused(tmp_path: Path, tokenizer: str) -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "dog"}}
    data = write_rows(tmp_path, [FOX, {"messages": [FOX["messages"][0], call]}])
    assert examined(data, tokenizer, READ_BY_DEFAULT).notes == ()


def test_a_row_that_trains_padding_alone_is_trained_as_mlx_lm_does_and_reported(
    tmp_path: Path, tokenizer: str
) -> None:
    found = examined(
        write_rows(tmp_path, [{"text": "</s>"}, {"text": "a"}]), tokenizer, READ_BY_DEFAULT
    )
    assert found.summary().lengths == (1, 2)
    assert found.notes == (
        f"1 row has no token to learn but mlx-lm's padding; the first: {tmp_path}/train.jsonl:1",
    )


def test_a_test_set_that_training_does_not_read_is_reported(tmp_path: Path, tokenizer: str) -> None:
    write_rows(tmp_path, [{"text": "a fox"}])
    write_rows(tmp_path, [{"text": "a fox"}, {"text": None}], "test")
    [note] = examined(tmp_path, tokenizer, READ_BY_DEFAULT).notes
    assert "test.jsonl:2: text must be a string, not null" in note


def test_bad_rows_are_left_out_alike_of_trials_and_of_training(
    tmp_path: Path, tokenizer: str
) -> None:
    (tmp_path / "train.jsonl").write_text(
        '\n{"text": "a fox"}\nnot JSON\n{"text": null}\n{"text": "a fox jumps"}\n'
    )
    (tmp_path / "valid.jsonl").write_text('{"text": 3}\n{"text": "a dog"}\n')
    reading = RowReading(64, bad_rows="skip")
    found = examined(tmp_path, tokenizer, reading)
    assert found.left_out == found.summary().left_out == 4
    assert found.notes[0].startswith("4 rows are left out of the data; the first, ")
    assert [len(found.rows.cached[row][0]) for row in range(2)] == [3, 4]
    [(_, spans)] = found.rows.longest_batches(1, 2, 64)
    ends: Any = spans[:, 1].tolist()
    assert sorted(ends) == [3, 4]
    assert len(found.validation) == 1
    assert len(found.validation[0][0]) == 3


def test_where_no_row_can_be_trained_on_none_is_left_out(tmp_path: Path, tokenizer: str) -> None:
    for row, error in (
        ({"text": ""}, ModelError),
        ({"text": None}, DataError),
        ({"a": 1}, DataError),
    ):
        data = write_rows(tmp_path, [row, row])
        with pytest.raises(error, match=r"\(the first of 2 bad lines\): fix or remove the line$"):
            examined(data, tokenizer, RowReading(64, bad_rows="skip"))


def test_text_needs_an_eos_token(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    known = json.loads(path.read_text())
    del known["eos_token"]
    path.write_text(json.dumps(known))
    message = said(tmp_path / "data", [{"text": "a fox"}], str(tmp_path))
    assert "no eos token, which mlx-lm ends each of them with: set eos_token" in message


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of checks that are kept, of sets of any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(row_checks, "_FEWEST_KEPT", 2)
    return tmp_path / "cache" / "pytest-yourai" / "rows"


def test_a_check_is_kept_for_the_same_rows_tokenizer_and_settings(
    tmp_path: Path, tokenizer: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(tmp_path / "data", [{"text": "a fox"}, {"text": None}])
    reading = RowReading(64, bad_rows="skip")
    first = examined(data, tokenizer, reading).summary()
    [file] = kept.glob("*.json")
    with monkeypatch.context() as patched:
        patched.setattr(row_checks, "_check", None)
        assert examined(data, tokenizer, reading).summary() == first
        for changed in (RowReading(32, bad_rows="skip"), RowReading(64)):
            if changed.max_seq_length == 32:
                with pytest.raises(TypeError):
                    examined(data, tokenizer, changed)
        with pytest.raises(TypeError):
            examined(data, tokenizer, reading, vocabulary=500)
        with pytest.raises(DataError, match=r"train\.jsonl:2"):
            examined(data, tokenizer, RowReading(64))
    write_rows(data, [{"text": "a fox jumps"}, {"text": "a"}])
    assert examined(data, tokenizer, reading).summary().lengths == (4, 2)
    assert file.exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", b'{"lengths": [9, 9]}'])
def test_a_kept_check_that_is_damaged_does_not_count(
    tmp_path: Path, tokenizer: str, kept: Path, damage: bytes
) -> None:
    data = write_rows(tmp_path / "data", [{"text": "a fox"}, {"text": "a"}])
    examined(data, tokenizer, READ_BY_DEFAULT)
    [file] = kept.glob("*.json")
    whole = file.read_bytes()
    for content in (damage, whole.replace(b"3", b"7", 1)):
        file.write_bytes(content)
        assert examined(data, tokenizer, READ_BY_DEFAULT).summary().lengths == (3, 2)
        assert file.read_bytes() == whole


def test_what_another_left_in_the_cache_is_not_followed(
    tmp_path: Path, tokenizer: str, kept: Path
) -> None:
    data = write_rows(tmp_path / "data", [{"text": "a fox"}, {"text": "a"}])
    examined(data, tokenizer, READ_BY_DEFAULT)
    [file] = kept.glob("*.json")
    file.unlink()
    os.mkfifo(file)
    assert examined(data, tokenizer, READ_BY_DEFAULT).summary().lengths == (3, 2)


def test_reading_many_rows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_checks, "_REPORTED_EVERY_S", 0.0)
    read: list[RowsRead] = []
    progress = Progress(7, read.append)
    progress.add(3)
    progress.add(4)
    assert read == [RowsRead(3, 7), RowsRead(7, 7)]
