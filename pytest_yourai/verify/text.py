"""The lines of a verification for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.verify.document import Line, Status, Verification

_WORDS = {Status.OK: "ok", Status.FAILED: "FAILED", Status.NOT_READ: "not read"}


def header(device: DeviceInfo) -> Iterator[str]:
    """What is verified, and how long that takes."""
    yield (
        f"Verifying on {device.name} ({device.backend}), MLX {device.mlx_version}, "
        f"mlx-lm {device.mlx_lm_version}: about two minutes"
    )


def verdict(line: Line) -> Iterator[str]:
    """The verdict, its number and its limit, and below them what they come from."""
    yield f"{_WORDS[line.status]:<8}  {line.title}: {number(line)}".rstrip(": ")
    if line.note:
        yield f"          {line.note}"


def closing(found: Verification, output: Path | None, kept: Path | None) -> Iterator[str]:
    """The count of verdicts, and where they are written."""
    counts = Counter(line.status for line in found.lines)
    words = ", ".join(f"{counts[each]} {_WORDS[each]}" for each in Status if counts[each])
    yield f"{len(found.lines)} lines: {words}; took {found.took_s:.0f} s"
    if output is not None:
        yield f"Written: {output}"
    if kept is not None:
        yield f"Kept as {kept}: what was there before"
    if not found.passed and output is None:
        yield "Add --output=verify.json, and attach that file to a report"
    elif not found.passed:
        yield f"Attach {output} to a report"


def number(line: Line) -> str:
    """The number of a line, and its limit; empty without one."""
    if line.value is None:
        return ""
    if line.unit is not None:
        return f"{line.value:.1f} {line.unit} (at most {line.most:g})"
    if line.least is None:
        return f"{line.value:+.1%} (at most {line.most:+.0%})".replace("+0%", "0 %")
    return f"{line.value:+.2%} (within {line.most:.1%})"
