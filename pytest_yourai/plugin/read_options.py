from __future__ import annotations

from pathlib import Path

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.flags import FLAGS
from pytest_yourai.plan.options import DEFAULT_TIMEOUT_S, Options
from pytest_yourai.plan.read_options import GivenTexts, read_flags, read_verification_file
from pytest_yourai.plugin.ini_values import ini_texts
from pytest_yourai.plugin.ini_values import where as ini_key


def read_options(config: pytest.Config) -> Options:
    """The options of a run; OptionError, naming the flag or the ini key, for an invalid value."""
    return read_flags(_FlagsAndKeys(config))


def verification_file(config: pytest.Config) -> Path | None:
    """The file of --yourai-output; OptionError for flags that --yourai-verify does not take."""
    return read_verification_file(_FlagsAndKeys(config))


class _FlagsAndKeys:
    """Flags of the command line, and where one is not given its key in the ini file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in FLAGS if self._config.getoption(f.key) is not None)

    @property
    def folder(self) -> Path:
        return self._config.invocation_params.dir

    @property
    def timeout_s(self) -> float:
        """The limit of pytest-timeout's own --timeout, else the default."""
        given = self._config.getoption("timeout", None)
        return DEFAULT_TIMEOUT_S if given is None else float(given)

    def of(self, flag: Flag) -> GivenTexts:
        texts = self._given(flag)
        if texts or flag.is_command:
            return GivenTexts(texts, flag.option, self.folder)
        # Paths in an ini file are relative to its folder.
        ini_file = self._config.inipath
        folder = ini_file.parent if ini_file else self.folder
        texts = ini_texts(self._config, flag.key)
        return GivenTexts(texts, ini_key(self._config, flag.key), folder)

    def _given(self, flag: Flag) -> list[str]:
        given: list[str] | str | None = self._config.getoption(flag.key)
        if not isinstance(given, list):
            return [] if given is None else [given]
        if len(given) > 1 and not flag.is_repeatable:
            raise OptionError(f"{flag.option} is given {len(given)} times: give it once")
        return given
