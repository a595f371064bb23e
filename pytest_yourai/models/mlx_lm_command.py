"""Commands of mlx-lm that work as they are pasted, whatever the path of the model."""

from __future__ import annotations

import glob
from pathlib import Path

from pytest_yourai.core.shell import command_line


def is_pattern(path: str) -> bool:
    """True if mlx-lm would look for the weights in other folders: it takes the path for a pattern.

    Such a command is run in the model's folder, where `.` names it.
    """
    return glob.escape(path) != path


def mlx_lm_command(
    program: str, flag: str, model: str, *arguments: str, is_ascii: bool = False
) -> str:
    """`program` with `model`, a folder or repository, behind `flag`; other paths are absolute."""
    if not is_pattern(model):
        return command_line(program, flag, model, *arguments, is_ascii=is_ascii)
    command = command_line(program, flag, ".", *arguments, is_ascii=is_ascii)
    return in_folder(model, command, is_ascii=is_ascii)


def in_folder(folder: str, command: str, *, is_ascii: bool = False) -> str:
    """`command` run there; the shell itself stays where it is."""
    return f"({command_line('cd', folder, is_ascii=is_ascii)} && {command})"


def output_path(name: str, model: str) -> str:
    """The path of an output beside which the command is pasted, as `mlx_lm_command` needs it."""
    return str(Path.cwd() / name) if is_pattern(model) else name
