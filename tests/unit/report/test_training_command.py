import shlex
from typing import Any

import pytest

from pytest_yourai.core.answers import Pick
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.labels import ConfigLabels
from pytest_yourai.report.training_commands import (
    shorter_rows_commands,
    shorter_rows_words,
    training_commands,
)
from pytest_yourai.store.config_rows import configuration
from pytest_yourai.training.options import TRAIN_OPTIONS

from support.profiles import document, failed_only, profiles_of, quick


def command(**changes: Any) -> tuple[list[str], tuple[str, ...]]:
    [each] = profiles_of({**quick(), **changes})
    found = training_commands(each)[0]
    *words, flag, pick = shlex.split(found.text)
    assert (flag, pick) == ("--pick", "largest")
    return words, found.notes


def test_a_preset_is_named_and_the_rest_is_to_be_filled_in() -> None:
    words, notes = command()
    assert words == [
        *("yourai", "train", "--model", "llama-8b", "--profile", "runs/0.json"),
        *("--weights", "hub", "--data", "FOLDER"),
    ]
    assert any("FOLDER has a train.jsonl" in note for note in notes)
    assert any("--weights hub" in note for note in notes)
    flags = {option.flag for option in TRAIN_OPTIONS.values()}
    assert {word for word in words if word.startswith("--")} <= flags


def test_a_model_of_ones_own_is_a_placeholder() -> None:
    words, notes = command(model="mine")
    assert words[3] == "MODEL"
    assert any("mine was read from" in note for note in notes)


def test_a_model_that_was_named_by_its_place_is_named_so_again() -> None:
    for place in ("./mine", "owner/mine"):
        words, notes = command(model="mine", settings={"model": place, "weights": "local"})
        assert words[3] == place
        assert words[6:] == ["--data", "FOLDER"]
        assert not any("mine was read from" in note for note in notes)
    words, _ = command(model="tiny", settings={"model": "./tiny", "weights": "synthetic"})
    assert words[3:] == ["./tiny", "--profile", "runs/0.json", "--weights", "synthetic"]


def test_a_preset_of_ones_own_is_named_with_its_list() -> None:
    own = {"presets_file": "mine.yaml", "model": "owner/x", "weights": "local"}
    words, notes = command(model="mine", settings=own)
    assert words[2:8] == ["--model", "mine", "--profile", "runs/0.json", "--models", "mine.yaml"]
    assert words[8:] == ["--data", "FOLDER"]
    assert not any("read from" in note for note in notes)
    words, _ = command(model="mine", settings={**own, "weights": "synthetic"})
    assert words[8:] == ["--weights", "hub", "--data", "FOLDER"]
    bare = {"presets_file": "mine.yaml", "weights": "synthetic"}
    words, _ = command(model="mine", settings=bare)
    assert words[8:] == ["--weights", "synthetic"]


def test_the_data_that_was_measured_is_named() -> None:
    words, notes = command(settings={"data": "my data", "weights": "local"})
    assert words[6:] == ["--data", "my data"]
    assert notes == ()


def test_shorter_rows_name_the_whole_configuration() -> None:
    shorter = LoraConfig(4, 64, 16, 384)
    offer = {
        **configuration(shorter),
        **dict.fromkeys(("rows_cut", "rows_cut_share", "tokens_cut_share"), 1),
        **dict.fromkeys(("minimum_memory_gb", "instead_of_gb"), 8),
    }
    measured = {"data": "a/b", "weights": "local", "model": "./mine"}
    data = {"rows": 9, "shorter_rows": [offer]}
    [each] = profiles_of({**quick(), "settings": measured, "data": data})
    [text] = shorter_rows_commands(each)
    assert text == (
        "yourai train --model ./mine --profile runs/0.json --data a/b --batch-size 4 --rank 64 "
        "--num-layers 16 --seq-length 384"
    )
    [without] = profiles_of(quick())
    assert shorter_rows_commands(without) == []


def test_what_varies_in_the_profile_is_named_with_shorter_rows() -> None:
    configs = [LoraConfig(1, 8, 4, 64, grad_checkpoint=each) for each in (False, True)]
    naming = ConfigLabels.of(configs)
    words = ["--batch-size", "1", "--rank", "8", "--num-layers", "4"]
    for config, flag in zip(configs, ("--no-grad-checkpoint", "--grad-checkpoint"), strict=True):
        assert shorter_rows_words(config, naming) == [*words, flag, "--seq-length", "64"]


def test_the_recipe_that_was_measured_is_named_and_names_its_data() -> None:
    measured = {"recipe_file": "recipes/lora.yaml", "data": "a/b", "weights": "local"}
    words, _ = command(settings=measured)
    assert words[6:] == ["--config", "recipes/lora.yaml", "--data", "a/b"]
    hub = {"data": "hf_dataset a/b", "hf_dataset": [{"path": "a/b"}], "mask_prompt": True}
    words, _ = command(settings={**measured, **hub})
    assert words[6:] == ["--config", "recipes/lora.yaml", "--mask-prompt"]
    words, _ = command(settings={"weights": "local", **hub})
    assert words[6:] == ["--data", "FOLDER"]


def test_tiny_has_made_up_weights_alone() -> None:
    words, notes = command(model="tiny", settings={})
    assert words[6:] == ["--weights", "synthetic"]
    assert notes == ("A dry run: this model has made-up weights alone.",)


def test_without_an_optimum_there_is_none() -> None:
    [each] = profiles_of(failed_only())
    assert training_commands(each) == []


@pytest.mark.parametrize("data", ["a; rm -rf b", "$(x)", "it's"])
def test_it_is_quoted_for_the_shell(data: str) -> None:
    words, _ = command(settings={"data": data})
    assert words[7] == data


def test_each_answer_has_its_command_the_headline_first() -> None:
    [each] = profiles_of(quick())
    found = training_commands(each)
    assert [shlex.split(one.text)[-2:] for one in found] == [
        ["--pick", "largest"],
        ["--pick", "fastest"],
    ]
    assert [one.names for one in found] == [(Pick.LARGEST,), (Pick.FASTEST, Pick.LEANEST)]
    [by_speed] = profiles_of({**quick(), "objective": "tokens_per_second"})
    assert [one.names[0] for one in training_commands(by_speed)] == [Pick.FASTEST, Pick.LARGEST]


def test_an_only_answer_needs_no_pick() -> None:
    [each] = profiles_of(document(lambda found: found["all_results"].__delitem__(slice(0, 11))))
    [found] = training_commands(each)
    assert "--pick" not in found.text


def test_a_sweep_of_ranks_leads_to_training_on_ranks() -> None:
    words, notes = command(settings={"world_size": 2})
    assert words[words.index("--hosts") + 1] == "HOSTS"
    assert "HOSTS is mlx.launch's hostfile, or 2 for ranks of this machine." in notes
