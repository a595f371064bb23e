"""Every flag says the same on the command line, in an ini file and in TOML's own types."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.errors import OptionError, RecipeError
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.options import Options, check_combinations, check_files
from pytest_yourai.plugin.read_options import read_options

VALUES: dict[str, tuple[str, Any]] = {
    "model": ("llama-8b", ["llama-8b"]),
    "models": ("mine.yaml", "mine.yaml"),
    "optimize": ("true", True),
    "quick": ("true", True),
    "matrix": ("small.yaml", "small.yaml"),
    "max-memory": ("24", 24),
    "output": ("p.json", "p.json"),
    "log": ("l.jsonl", "l.jsonl"),
    "lora-config": ("lora.yaml", "lora.yaml"),
    "report": ("page.html", "page.html"),
    "markdown": ("page.md", "page.md"),
    "steps": ("3", 3),
    "warmup": ("4", 4),
    "config": ("recipe.yaml", "recipe.yaml"),
    "batch-size": ("1,2", [1, 2]),
    "rank": ("8", 8),
    "num-layers": ("4,all", [4, "all"]),
    "seq-length": ("64,128", [64, 128]),
    "fine-tune-type": ("dora,lora", ["dora", "lora"]),
    "optimizer": ("adamw", "adamw"),
    "dropout": ("0,0.1", [0, 0.1]),
    "grad-accumulation-steps": ("2", 2),
    "data": ("owner/rows", "owner/rows"),
    "bad-rows": ("skip", "skip"),
    "mask-prompt": ("true", True),
    "weights": ("hub", "hub"),
    "quantize": ("4", 4),
    "lora-keys": ("a.b,c", ["a.b", "c"]),
    "grad-checkpoint": ("true", True),
    "timeout": ("12.5", 12.5),
    "compile-timeout": ("1200", 1200),
    "objective": ("tokens_per_second", "tokens_per_second"),
    "search": ("fast", "fast"),
    "isolation": ("trial", "trial"),
    "force": ("true", True),
    "resume": ("true", True),
    "soak": ("0.5", 0.5),
    "replay": ("r.json", "r.json"),
    "compare": ("c.json", "c.json"),
    "fail-on": ("step_time:9%", ["step_time:9%"]),
    "confirm": ("1", 1),
    "trust-remote-code": ("true", True),
    "hosts": ("2", 2),
    "hosts-backend": ("ring", "ring"),
    "link-gbit": ("2.5", 2.5),
    "profile": ("p2.json", ["p2.json"]),
}
"""The text, and the value as TOML has it; of two flags that exclude each other the one."""

BY_NAME = {flag.name: flag for flag in FLAGS}


def options(pytester: pytest.Pytester, *arguments: str) -> Options:
    (pytester.path / "recipe.yaml").write_text("learning_rate: 2e-5\n")
    return dataclasses.replace(
        read_options(pytester.parseconfig("-p", "no:cacheprovider", *arguments)), given=frozenset()
    )


def in_toml(pytester: pytest.Pytester, values: Mapping[str, Any]) -> None:
    # JSON's texts, numbers, booleans and lists are TOML's, too.
    lines = [f"{BY_NAME[name].key} = {json.dumps(value)}\n" for name, value in values.items()]
    (pytester.path / "pytest.toml").write_text("[pytest]\n" + "".join(lines))


def on_the_command_line(pytester: pytest.Pytester) -> Options:
    return options(
        pytester,
        *(
            f"{BY_NAME[name].option}={text}" if BY_NAME[name].metavar else BY_NAME[name].option
            for name, (text, _) in VALUES.items()
        ),
    )


def test_the_table_has_every_flag_with_a_key() -> None:
    every = {flag.name for flag in FLAGS if not flag.is_command}
    assert VALUES.keys() | {"effective-batch-size"} == every


def test_accumulation_is_given_in_one_way(pytester: pytest.Pytester) -> None:
    flag = "--yourai-effective-batch-size=16"
    assert options(pytester, flag).effective_batch_size == 16
    recipe = "--yourai-config=recipe.yaml"
    (pytester.path / "e.yaml").write_text("effective_batch_size: 8\n")
    own = "--yourai-config=e.yaml"
    assert options(pytester, own).effective_batch_size == 8
    assert options(pytester, own, flag).effective_batch_size == 16
    steps = "--yourai-grad-accumulation-steps=2"
    assert options(pytester, own, steps).effective_batch_size is None
    with pytest.raises(OptionError, match="effective-batch-size: --yourai-grad-acc.* leave one of"):
        options(pytester, flag, steps, recipe)


def test_each_flag_reaches_the_options(pytester: pytest.Pytester) -> None:
    given, unset = on_the_command_line(pytester), options(pytester)
    same = {
        each.name
        for each in dataclasses.fields(Options)
        if getattr(given, each.name) == getattr(unset, each.name)
    }
    others = {"given", "benchmark", "effective_batch_size", "has_data_of_recipe", "walks_all"}
    assert same == others
    assert options(pytester, "--yourai-models=all").walks_all
    assert not given.walks_all


def test_each_key_is_the_same_as_its_flag(pytester: pytest.Pytester) -> None:
    given = on_the_command_line(pytester)
    keys = [f"{BY_NAME[name].key}={text}" for name, (text, _) in VALUES.items()]
    assert options(pytester, *(f"-o{each}" for each in keys)) == given
    pytester.makeini("[pytest]\n" + "\n".join(keys))
    assert options(pytester) == given
    in_toml(pytester, {name: value for name, (_, value) in VALUES.items()})
    assert options(pytester) == given
    in_toml(pytester, {name: text for name, (text, _) in VALUES.items()})
    assert options(pytester) == given


def test_lists_may_take_several_lines(pytester: pytest.Pytester) -> None:
    lists = {name: each for name, (_, each) in VALUES.items() if isinstance(each, list)}
    given = options(pytester, *(f"{BY_NAME[name].option}={VALUES[name][0]}" for name in lists))
    ini = pytester.path / "pytest.ini"
    with ini.open("w") as lines:
        lines.write("[pytest]\n")
        for name, each in lists.items():
            lines.write("\n    ".join([f"{BY_NAME[name].key} =", *map(str, each)]) + "\n")
    assert options(pytester) == given
    ini.unlink()
    keys = [f"{BY_NAME[name].key} = {json.dumps(each)}\n" for name, each in lists.items()]
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\n" + "".join(keys))
    assert options(pytester) == given


def test_a_switch_can_be_false(pytester: pytest.Pytester) -> None:
    unset = options(pytester)
    switches = [flag.name for flag in FLAGS if not flag.metavar and not flag.is_command]
    in_toml(pytester, dict.fromkeys(switches, False))
    # Unset, a matrix may have it either way.
    assert options(pytester) == dataclasses.replace(unset, axes={"grad_checkpoint": (False,)})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("yourai_force = 'maybe'", "yourai_force: 'maybe' is not valid: it must be true or false"),
        ("yourai_steps = true", "yourai_steps: 'true' is not valid: it must be a whole number"),
        ("yourai_steps = [3, 4]", "yourai_steps: it has 2 values: name one"),
        ("yourai_steps = { a = 3 }", "yourai_steps: it is a dict: give a text, a number"),
        ("yourai_log = 2026-01-01", "yourai_log: it is a date: give a text, a number"),
        ("yourai_max_memory = nan", "yourai_max_memory: 'nan' is not valid"),
    ],
)
def test_a_value_that_no_flag_could_have(
    pytester: pytest.Pytester, line: str, message: str
) -> None:
    (pytester.path / "pytest.toml").write_text(f"[pytest]\n{line}\n")
    with pytest.raises(OptionError) as caught:
        options(pytester)
    assert f"pytest.toml: {message}" in str(caught.value)


def test_the_model_of_a_recipe_counts_where_no_flag_names_one(pytester: pytest.Pytester) -> None:
    (pytester.path / "r.yaml").write_text("model: ./mine\n")
    own = "--yourai-config=r.yaml"

    def models(*arguments: str) -> list[tuple[str, Path]]:
        return [(each.name, each.folder) for each in options(pytester, *arguments).models]

    assert models(own) == [("./mine", pytester.path / "mine")]
    assert models(own, "--yourai-model=tiny") == [("tiny", pytester.path / "tiny")]
    assert models(own, "--yourai-benchmark") == models(own, "--yourai-replay=r.json") == []
    check_combinations(options(pytester, own))
    recipe = "--yourai-config=recipe.yaml"
    check_combinations(options(pytester, recipe, "--yourai-benchmark"))
    with pytest.raises(OptionError, match=r"recipe\.yaml names no model: add a line with model: "):
        check_combinations(options(pytester, recipe))
    (pytester.path / "r.yaml").write_text('model: "a\\0"\n')
    with pytest.raises(RecipeError, match=r"r\.yaml: model: 'a\\x00' is not valid: a path must"):
        models(own)


def test_a_recipe_and_its_adapters_are_not_written_over(pytester: pytest.Pytester) -> None:
    (pytester.path / "r.yaml").write_text("model: tiny\nresume_adapter_file: a.safetensors\n")
    own = "--yourai-config=r.yaml"
    for name in ("r.yaml", "a.safetensors"):
        with pytest.raises(OptionError, match=f"{name} is read for --yourai-config: name another"):
            check_files(options(pytester, own, f"--yourai-lora-config={name}"))
    check_files(options(pytester, own, "--yourai-lora-config=new.yaml"))


def test_the_data_of_a_recipe_counts_where_no_flag_names_any(pytester: pytest.Pytester) -> None:
    (pytester.path / "r.yaml").write_text("model: tiny\ndata: owner/rows\n")
    (pytester.path / "bad.yaml").write_text("model: tiny\ndata: ./gone\n")
    own = "--yourai-config=r.yaml"
    found = options(pytester, own)
    assert (found.data, found.has_data_of_recipe) == ("owner/rows", True)
    found = options(pytester, own, "--yourai-data=owner/others")
    assert (found.data, found.has_data_of_recipe) == ("owner/others", False)
    with pytest.raises(RecipeError, match=r"bad\.yaml: data: './gone' is not valid: there is no"):
        options(pytester, "--yourai-config=bad.yaml")


def test_a_mistake_names_flags_as_the_user_wrote_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--yourai-model=tiny", "--yourai-rank=x")
    long = pytester.runpytest_inprocess(*arguments)
    assert "ERROR: --yourai-rank: 'x' is not valid: " in long.stderr.str()
    monkeypatch.setenv("YOURAI_INVOCATION", "[]")
    short = pytester.runpytest_inprocess(*arguments)
    assert "ERROR: --rank: 'x' is not valid: " in short.stderr.str()
    assert "YOURAI_INVOCATION" not in os.environ
