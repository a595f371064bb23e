"""How a run was started, so that the commands to type next are written the same way."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_yourai.core.shell import command_line, pytest_line
from pytest_yourai.plan.flags import INVOCATION_VARIABLE
from pytest_yourai.plan.short_commands import short_words


@dataclass(frozen=True)
class Invocation:
    """The arguments of pytest, and whether the user wrote them as a `yourai` command.

    `training` has options of `yourai train` that were given to a sweep, for the command that
    trains with its answer.
    """

    arguments: tuple[str, ...] = ()
    is_short: bool = False
    training: tuple[str, ...] = ()

    @classmethod
    def of(cls, called: str | None, arguments: Iterable[str]) -> Invocation:
        """From the value of the variable in `variables`, or None without it."""
        if called is None:
            return cls(tuple(arguments))
        try:
            training = tuple(str(word) for word in json.loads(called))
        except (ValueError, TypeError):
            training = ()
        return cls(tuple(arguments), is_short=True, training=training)

    def variables(self) -> dict[str, str]:
        """The environment variables for the pytest that it becomes."""
        return {INVOCATION_VARIABLE: json.dumps(self.training)} if self.is_short else {}

    def line(self, *arguments: str) -> str:
        """The command that runs pytest with `arguments`, as this user writes it."""
        if self.is_short:
            return command_line(*short_words(arguments))
        return pytest_line(*arguments)
