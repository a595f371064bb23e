"""What a flag is: its name on the command line, its ini key, and a group of flags."""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """`--yourai-NAME METAVAR`, and the ini key `yourai_NAME`; a switch has no metavar.

    A command has no ini key, which would turn every run of pytest into one.
    """

    name: str
    metavar: str | None
    help: str
    default: str = ""
    is_command: bool = False
    is_repeatable: bool = False
    """True if it may be repeated; its ini key takes one value a line."""
    aliases: tuple[str, ...] = ()
    """Other spellings in the `yourai` command: mlx-lm's, and shorter ones."""

    @property
    def option(self) -> str:
        """The flag on the command line."""
        return f"--yourai-{self.name}"

    @property
    def key(self) -> str:
        """The key in the ini file."""
        return f"yourai_{self.name.replace('-', '_')}"


class FlagGroup(NamedTuple):
    """Flags that are shown together."""

    title: str
    flags: tuple[Flag, ...]
