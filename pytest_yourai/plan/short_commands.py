"""The short forms of pytest's command lines: `yourai sweep`, `yourai models` and `yourai fit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_yourai.core.axes import AXES
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS

_COMMANDS = frozenset(flag.name for flag in FLAGS if flag.is_command)

_ALL = frozenset(flag.name for flag in FLAGS) - _COMMANDS


_ESTIMATED = frozenset({"link-gbit", "profile"})
"""What only estimates take."""


@dataclass(frozen=True)
class ShortCommand:
    """A command, the flag of pytest that it implies, and the names of the flags that it takes.

    `model` says what its positional arguments are. The command still has the name `former`, which
    is not shown.
    """

    name: str
    former: str
    help: str
    model: str
    flag: str | None
    takes: frozenset[str]
    needs: frozenset[str] = frozenset()
    """One of these must be given."""
    hands_on: bool = False
    """True if options of training are taken, for the command that trains with the answer."""

    @property
    def flags(self) -> list[Flag]:
        """Those that it takes, in the order of help."""
        return [flag for flag in FLAGS if flag.name in self.takes]


SWEEP = ShortCommand(
    "sweep",
    "optimize",
    "measure which batch size, LoRA rank and LoRA layers fit, and which are best",
    "the model to measure: a preset, a folder or owner/name; several are measured in turn",
    flag=None,
    takes=_ALL - {"optimize"} - _ESTIMATED,
    needs=frozenset({"model", "replay", "config"}),
    hands_on=True,
)

WALK = ShortCommand(
    "models",
    "benchmark",
    "measure models, smallest first, until one does not fit",
    "only these models: presets, folders or owner/name",
    flag="benchmark",
    takes=_ALL - {"replay"} - _ESTIMATED,
)

FIT = ShortCommand(
    "fit",
    "recommend",
    "print which models fit, by estimate, and measure nothing",
    "only these models: presets, folders or owner/name",
    flag="recommend",
    takes=frozenset({
        *("model", "models", "max-memory", "output", "weights", "quantize", "config"),
        *("data", "bad-rows", "mask-prompt", "hosts", "hosts-backend"),
        *_ESTIMATED,
        *("effective-batch-size", *(axis.flag for axis in AXES)),
    }),
)  # fmt: skip

SHORT_COMMANDS = (SWEEP, WALK, FIT)

PASSED_LETTERS = "xqvs"

PASSED_SWITCHES = (
    *("--lf", "--ff", "--co"),
    *("--exitfirst", "--quiet", "--verbose", "--last-failed", "--failed-first", "--collect-only"),
)
"""Flags of pytest that the commands pass on, beside `-x`, `-q`, `-v` and `-s`."""

PASSED_VALUES = ("-k", "-m", "--maxfail", "--deselect", "--durations", "--junit-xml", "--tb")
"""Those with a value."""

_BY_OPTION = {flag.option: flag for flag in FLAGS} | {
    "--quick": next(flag for flag in FLAGS if flag.name == "quick")
}


def short_words(arguments: Sequence[str]) -> Iterator[str]:
    """The words of the short form of `pytest` with `arguments`."""
    command, models, own, others = SWEEP, list[str](), list[str](), list[str]()
    rest = iter(arguments)
    for argument in rest:
        name, separator, value = argument.partition("=")
        flag = _BY_OPTION.get(name)
        if flag is None:
            others.append(argument)
        elif flag.is_command:
            command = next((each for each in SHORT_COMMANDS if each.flag == flag.name), command)
        elif flag.metavar is None:
            own.append(f"--{flag.name}")
        else:
            text = value if separator else next(rest, "")
            if flag.name == "model" and text and not text.startswith("-"):
                models.append(text)
            else:
                own += _with_value(f"--{flag.name}", text)
    yield from ("yourai", command.name, *models, *own)
    if others and not _are_passed(others):
        yield "--"
    yield from others


def _with_value(flag: str, text: str) -> list[str]:
    return [f"{flag}={text}"] if text.startswith("-") or not text else [flag, text]


def _are_passed(others: Sequence[str]) -> bool:
    """True if the command takes all of these arguments of pytest without --."""
    rest = iter(others)
    for argument in rest:
        name = argument.partition("=")[0]
        if argument in PASSED_VALUES:
            if next(rest, "-").startswith("-"):
                return False
        elif not (name in PASSED_VALUES or argument in PASSED_SWITCHES or _has_letters(argument)):
            return False
    return True


def _has_letters(argument: str) -> bool:
    """True for `-x`, `-vv` and the like."""
    dash, letters = argument[:1], argument[1:]
    return dash == "-" and bool(letters) and set(letters) <= set(PASSED_LETTERS)


def in_own_words(text: str) -> str:
    """`text` with the flags of pytest as the commands take them."""
    for command in SHORT_COMMANDS:
        if command.flag:
            text = text.replace(f"--yourai-{command.flag}", f"yourai {command.name}")
    return text.replace("--yourai-verify", "yourai verify").replace("--yourai-", "--")
