"""The command, for `yourai verify` and `pytest --yourai-verify`."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from pytest_yourai.core.files import check_writable
from pytest_yourai.report.safe_stream import print_lines
from pytest_yourai.verify import document, text
from pytest_yourai.verify.run import verify


def run(output: Path | None, flag: str, stream: IO[str] | None) -> bool:
    """Verify this machine, with lines on `stream`; True if no line failed.

    `output`, which `flag` names, gets the file. InputError where nothing can run here.
    """
    if output is not None:
        check_writable(output, flag)
    found = verify(
        lambda device: print_lines(stream, *text.header(device)),
        lambda line: print_lines(stream, *text.verdict(line)),
    )
    kept = None if output is None else document.write(output, found, flag)
    print_lines(stream, *text.closing(found, output, kept))
    return found.passed
