"""Printing goes on, or nowhere, and never fails."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_yourai.report.safe_stream import close_stream, safe_stream

PRINTING = """
import sys
from pytest_yourai.report.safe_stream import close_stream, open_missing_streams, safe_stream
open_missing_streams()
with open(sys.argv[1], "w") as later:
    stream = safe_stream(sys.stdout)
    for number in range(20_000):
        print("line", number, file=stream, flush=True)
    close_stream(sys.stdout)
sys.exit(7)
"""


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-", "<&- >&-", "| head -1 >/dev/null"])
def test_a_process_ends_as_it_would_whatever_its_stdout_is(tmp_path: Path, redirected: str) -> None:
    if "full" in redirected and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "printing.py").write_text(PRINTING)
    later = tmp_path / "later"
    command = f"set -o pipefail; '{sys.executable}' printing.py later {redirected}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert later.read_text() == ""


def test_no_stream_is_one_that_is_gone() -> None:
    stream = safe_stream(None)
    print("nothing", file=stream, flush=True)
    assert not stream.isatty()
    with pytest.raises(OSError, match="the stream is closed"):
        stream.fileno()
    close_stream(None)


def test_it_is_wrapped_once() -> None:
    stream = safe_stream(io.StringIO())
    assert safe_stream(stream) is stream


def test_what_cannot_be_flushed_at_the_end_is_forgotten() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        stream.write("lost")
        close_stream(stream)
        assert os.fstat(writing).st_rdev == Path(os.devnull).stat().st_rdev
