"""A folder with a model of synthetic weights and a tokenizer, as mlx-lm loads it.

bootstrap.py worker.engine.model_folder FOLDER, with its config.json there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlx_lm.utils import save_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pytest_yourai.models.config_keys import stored_quantization
from pytest_yourai.models.folder import CONFIG, read_architecture
from pytest_yourai.models.made_rows import WORDS
from pytest_yourai.models.source import ModelSource
from pytest_yourai.worker.engine import weights


def make_tokenizer(folder: Path) -> None:
    """A word-level tokenizer of WORDS with a chat template."""
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        chat_template="{% for m in messages %}{{ m['content'] }} {% endfor %}",
    ).save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    architecture = read_architecture(folder / CONFIG)
    stored = stored_quantization(architecture)
    save_model(folder, weights.load(ModelSource("made", architecture, None, True, stored, ())))
    make_tokenizer(folder)
