"""The scripts with which shells complete `yourai`."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pytest_yourai.cli.flags import SHELLS
from pytest_yourai.cli.main import main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sw"], ["sweep"]),
        (["op"], []),
        (["sweep", "tin"], ["tiny"]),
        (["train", "--model", "llama-8"], ["llama-8b"]),
        (["fit", "tiny", "--mem"], ["--memory"]),
        (["sweep", "tiny", "--iter"], ["--iters"]),
        (["sweep", "tiny", "--search", "f"], ["fast"]),
        (["completion", "z"], ["zsh"]),
        (["fits", "--format", "h"], ["html"]),
    ],
)
def test_what_bash_completes(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = " ".join(["yourai", *words])
    asking = (
        f"{script('bash', capsys)}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        f"_shtab_yourai yourai {words[-1]} ''\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    done = subprocess.run(
        ["bash", "--norc"], input=asking, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_can_read_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert "llama-8b" in text
    assert "--effective-batch-size" in text
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=text, text=True, check=True)
