"""Makes `--yourai-model ./x` into `--yourai-model=./x` before pytest reads its arguments.

pytest takes a value that stands by itself for a path of tests, and reads the settings that lie
there before it loads any plugin: a `pytest.ini` of a model folder would run code of that folder.
`pytest_yourai.pth` calls this when Python starts with one of our flags. Imports little.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence

from pytest_yourai.plan.flags import FLAGS

_ADDED_ARGUMENTS = "PYTEST_ADDOPTS"


def join_in_this_process() -> None:
    """Join the values in the arguments of this process, and in pytest's variable."""
    sys.argv[:] = joined(sys.argv)
    if added := os.environ.get(_ADDED_ARGUMENTS):
        os.environ[_ADDED_ARGUMENTS] = joined_text(added)
    # pytest rewrites the assertions of plugins, and warns of what was imported before.
    package = __name__.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def joined_text(text: str) -> str:
    """The same for arguments in one text; as it is where nothing changes, or it is not valid."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text
    return text if (found := list(joined(words))) == words else shlex.join(found)


def joined(arguments: Sequence[str]) -> Iterator[str]:
    """The same arguments, with each value of a flag of ours behind `=`."""
    options = {flag.option for flag in FLAGS if flag.metavar is not None}
    flag = ""
    for place, argument in enumerate(arguments):
        following = arguments[place + 1 : place + 2]
        if flag:
            yield f"{flag}={argument}"
            flag = ""
        elif argument == "--":
            yield from arguments[place:]
            return
        elif argument in options and following and not following[0].startswith("-"):
            flag = argument
        else:
            yield argument
