from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_yourai.core.errors import InputError, OptionError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS, GROUPS, INVOCATION_VARIABLE
from pytest_yourai.plugin.ini_values import has_value, ini_texts

if TYPE_CHECKING:
    from pytest_yourai.plan.invocation import Invocation

_STARTERS = ("yourai_model", "yourai_replay", "yourai_benchmark", "yourai_config")

_STARTING_KEYS = ("yourai_model", "yourai_replay")


def add_options(parser: pytest.Parser) -> None:
    for each in GROUPS:
        group = parser.getgroup(f"yourai: {each.title.lower()}")
        for flag in each.flags:
            _add_option(group, flag)
    # One key with aliases, or help would show each flag a second time.
    keys = [flag.key for flag in FLAGS if not flag.is_command]
    commands = " and ".join(flag.option for flag in FLAGS if flag.is_command)
    parser.addini(
        "yourai_*",
        f"each --yourai flag but {commands}, as in: yourai_max_memory = 16",
        default=None,
        aliases=keys,
    )


def _add_option(group: pytest.OptionGroup, flag: Flag) -> None:
    text = f"{flag.help} (default: {flag.default})" if flag.default else flag.help
    settings: dict[str, Any] = {"dest": flag.key, "help": text.replace("%", "%%")}
    # Defaults stay None, or the ini key would never be read.
    if flag.metavar is None:
        group.addoption(flag.option, action="store_const", const="true", **settings)
    else:
        group.addoption(flag.option, action="append", metavar=flag.metavar, **settings)


def rewrite_quick(args: list[str]) -> None:
    """Make `--quick` ours where another of our flags stands beside it, else leave it alone."""
    if any(arg.startswith("--yourai-") for arg in args):
        args[:] = ["--yourai-quick" if arg == "--quick" else arg for arg in args]


_CALLED: pytest.StashKey[str | None] = pytest.StashKey()


def remember_call(config: pytest.Config) -> None:
    """Take how a `yourai` command called from the environment: it did not call what is started."""
    config.stash[_CALLED] = os.environ.pop(INVOCATION_VARIABLE, None)


def invocation(config: pytest.Config) -> Invocation:
    """How this run was started."""
    from pytest_yourai.plan.invocation import Invocation  # noqa: PLC0415 - for runs of ours alone

    return Invocation.of(config.stash.get(_CALLED, None), config.invocation_params.args)


def usage_error(config: pytest.Config, problem: InputError) -> pytest.UsageError:
    """`problem` as pytest prints it, after `ERROR:`, with flags as the user writes them."""
    # Imported here: an inert plugin must not pay for it.
    from pytest_yourai.core.sanitize import screen_line  # noqa: PLC0415
    from pytest_yourai.plan.short_commands import in_own_words  # noqa: PLC0415

    text = str(problem)
    return pytest.UsageError(screen_line(in_own_words(text) if is_short(config) else text))


def is_short(config: pytest.Config) -> bool:
    """True if the user has typed a command of `yourai`."""
    return config.stash.get(_CALLED, None) is not None


def is_active(config: pytest.Config) -> bool:
    """True if a model, recording or recipe is named, and is to be measured.

    A model or a recording by flag or ini key; a recipe, whose model is known later, by flag alone.

    OptionError if other flags of ours are given without one.
    """
    if config.getoption("yourai_recommend") or config.getoption("yourai_verify"):
        return False
    if wants_packaged_suite(config) or any(has_value(config, key) for key in _STARTING_KEYS):
        return True
    for flag in FLAGS:
        if config.getoption(flag.key) is not None:
            raise OptionError(
                f"{flag.option} needs a model: add --yourai-model=NAME, or --yourai-benchmark"
            )
    return False


def starting_flags(config: pytest.Config) -> list[str]:
    """The flags for what the ini file says is to be measured."""
    by_key = {flag.key: flag for flag in FLAGS}
    return [
        f"{by_key[key].option}={text}" for key in _STARTING_KEYS for text in ini_texts(config, key)
    ]


_RUNNING_NOTHING = (
    "help",
    "version",
    "collectonly",
    "markers",
    "showfixtures",
    "show_fixtures_per_test",
    "cacheshow",
    "setupplan",
)
"""pytest's own options, by destination, with which no test is called."""


def needs_worker(config: pytest.Config) -> bool:
    """True if trials will be run, as far as the command line says: not collected or replayed."""
    is_replay = config.getoption("yourai_replay") or has_value(config, "yourai_replay")
    return not (is_replay or any(config.getoption(name, False) for name in _RUNNING_NOTHING))


def answers_without_session(config: pytest.Config) -> bool:
    """True for estimates, or checks of this machine, instead of tests; --help comes first."""
    asked = config.getoption("yourai_recommend") or config.getoption("yourai_verify")
    return bool(asked) and not config.getoption("help", False)


def has_timeout(config: pytest.Config) -> bool:
    """True if pytest-timeout is active, under whatever name."""
    return hasattr(config.option, "timeout_method")


def has_benchmark(config: pytest.Config) -> bool:
    """True if pytest-benchmark is active, under whatever name."""
    return hasattr(config.option, "benchmark_disable")


def wants_packaged_suite(config: pytest.Config) -> bool:
    """True to collect the packaged tests: by flag alone, so that an ini key takes no run over."""
    return any(config.getoption(key) for key in _STARTERS)
