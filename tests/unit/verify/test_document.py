from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.device import DeviceInfo
from pytest_yourai.core.errors import OutputError, RecordingError
from pytest_yourai.core.power import PowerState, PowerTrace
from pytest_yourai.verify import document, judging, text
from pytest_yourai.verify.document import Status, Verification

MB = 1_000_000


def verification(last_peak: int = 100) -> Verification:
    return Verification(
        created_at="2026-11-28T10:50:22+00:00",
        took_s=84.2,
        environment=Environment(chip="Apple M3 Max", backend="metal", versions={"mlx": "0.32.4"}),
        lines=(
            judging.peak([100 * MB, last_peak * MB], [100 * MB, 100 * MB]),
            judging.REPEAT.broken_off("the worker ended"),
            judging.conditions(5.0, 5.0, PowerTrace.of([PowerState("mains")])),
            judging.limit(110 * MB, [109 * MB], 120 * MB),
        ),
    )


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, found = tmp_path / "verify.json", verification()
    assert document.write(path, found, "--output") is None
    assert document.read(path) == found
    kept = document.write(path, verification(103), "--output")
    assert kept is not None
    assert document.read(kept) == found


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "verify.json"
    path.write_text(json.dumps({"schema_version": 1, "lines": []}))
    with pytest.raises(RecordingError, match="name a file of yourai verify --output"):
        document.read(path)
    with pytest.raises(OutputError, match="--output"):
        document.write(tmp_path / "missing" / "verify.json", verification(), "--output")


def test_one_line_that_failed_fails_all() -> None:
    assert not verification().passed
    ok = tuple(line for line in verification().lines if line.status is Status.OK)
    assert verification().model_copy(update={"lines": ok}).passed


def test_each_verdict_has_its_number_and_its_limit() -> None:
    shown = [list(text.verdict(line)) for line in verification(103).lines]
    assert shown == [
        [
            "FAILED    Peak memory of a trial beside mlx_lm.lora's: +3.00% (within 1.0%)",
            "          103.0 MB beside 100.0 MB",
        ],
        ["FAILED    Minimum memory of the same trial again", "          the worker ended"],
        [
            "ok        Sleep, power and heat meanwhile: 0.0 seconds asleep (at most 1)",
            "          on mains",
        ],
        [
            "ok        Peak of training under a limit: -0.9% (at most 0 %)",
            "          109.0 MB of 110.0 MB; without a limit 120.0 MB",
        ],
    ]


def test_the_header_names_the_device_and_versions() -> None:
    [line] = text.header(DeviceInfo("metal", "Apple M3 Max", None, None, "0.32.4", "0.32.2"))
    assert line.startswith("Verifying on Apple M3 Max (metal), MLX 0.32.4, mlx-lm 0.32.2")


def test_the_end_counts_and_says_what_to_attach() -> None:
    found = verification(103)
    assert list(text.closing(found, None, None)) == [
        "4 lines: 2 ok, 2 FAILED; took 84 s",
        "Add --output=verify.json, and attach that file to a report",
    ]
    lines = list(text.closing(found, Path("v.json"), Path("v-2026.json")))
    assert lines[1:] == [
        "Written: v.json",
        "Kept as v-2026.json: what was there before",
        "Attach v.json to a report",
    ]
