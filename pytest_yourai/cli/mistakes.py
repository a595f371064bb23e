"""Words that a command does not take, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_yourai.cli.parser import Parser
from pytest_yourai.core.similar import similar

_IN_A_RECIPE = "name it in the YAML file of --config"

_EPOCHS = "mlx-lm counts steps: give --iters; a sweep with --data names the steps of an epoch"

_OF_SWEEPS = {
    "--epochs": _EPOCHS,
    "--num-epochs": _EPOCHS,
    "--pick": "a sweep names all three answers: give it to yourai train",
    "--train": "a sweep only measures: leave it out",
    "--test": "a sweep only measures: leave it out",
    "--test-batches": "a sweep only measures: leave it out",
    "--resume-adapter-file": _IN_A_RECIPE,
    "--clear-cache-threshold": _IN_A_RECIPE,
}

_OF_OTHERS = {
    "train": {
        "--epochs": _EPOCHS,
        "--num-epochs": _EPOCHS,
        "--train": "this always trains: leave it out",
        "--test": "no test rows are read: afterwards run mlx_lm.lora --test with --adapter-path",
        "--test-batches": "no test rows are read: leave it out",
        "--resume-adapter-file": _IN_A_RECIPE,
        "--clear-cache-threshold": _IN_A_RECIPE,
        "--effective-batch-size": "give --batch-size and --grad-accumulation-steps, or "
        + _IN_A_RECIPE,
    },
    "sweep": _OF_SWEEPS,
    "models": _OF_SWEEPS,
}
"""Flags of mlx_lm.lora, by command."""


def refuse_command(parser: Parser, name: str, names: Iterable[str]) -> None:
    parser.error(f"unknown command {name}{_meant(name, names) or ': see yourai --help'}")


def refuse_flags(parser: Parser, command: str, unknown: Sequence[str], otherwise: str) -> None:
    """Exit if there is one in `unknown`, with what to write instead, or else `otherwise`."""
    if not unknown:
        return
    flag = unknown[0].partition("=")[0]
    remedy = _OF_OTHERS.get(command, {}).get(flag)
    if remedy:
        parser.error(f"{flag}: {remedy}")
    parser.error(f"unknown flag {unknown[0]}{_meant(flag, parser.flags) or f': {otherwise}'}")


def _meant(word: str, words: Iterable[str]) -> str:
    """A question for the user; empty if none of `words` is near."""
    near = similar(word, words)
    return f": did you mean {near[0]}?" if near else ""
