"""Recorded measurements: profiles of ours, and whatever else has a model and rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.axes import GRAD_CHECKPOINT, MAX_SEQ_LENGTH
from pytest_yourai.core.conditions import Environment
from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import OptionError, RecordingError
from pytest_yourai.core.outcomes import Outcome
from pytest_yourai.store.recording import (
    backend_of,
    read_recording,
    recorded_configs,
)

DATA = Path(__file__).resolve().parents[2] / "data"


def row(batch: Any = 1, **more: Any) -> dict[str, Any]:
    return {
        "batch_size": batch,
        "lora_rank": 8,
        "lora_layers": 4,
        "peak_memory_mb": 1000.5,
        "step_time_ms": 20.0,
        "success": True,
        "error": None,
        **more,
    }


def write(folder: Path, rows: Any, **more: Any) -> Path:
    path = folder / "recorded.json"
    path.write_text(json.dumps({"model": "somebody/else-3b", "all_results": rows, **more}))
    return path


def test_a_profile_of_ours_comes_back_with_all_that_it_holds() -> None:
    path = DATA / "h200_llama8b_quick.json"
    recording = read_recording(path, 99)
    raw = json.loads(path.read_text())
    assert recording.model == raw["model"] == "llama-8b"
    assert len(recording.results) == 12
    assert recording.has_minima
    assert recording.measured_values(MAX_SEQ_LENGTH) == (raw["settings"]["max_seq_length"],)
    assert recording.settings.quantization == Quantization(4)
    assert recording.memory_limit_bytes == round(raw["memory_limit_gb"] * 1e9)
    first = raw["all_results"][0]
    result = next(iter(recording.results.values()))
    assert result.minimum_memory_bytes == first["minimum_memory_bytes"]
    assert list(result.step_times_s) == first["step_times_s"]


def test_foreign_rows_need_no_more_than_seven_keys(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path, [row(), row(2)]), 128)
    assert not recording.has_minima
    assert recording.measured_values(MAX_SEQ_LENGTH) == (128,)
    assert recording.memory_limit_bytes is None
    result = recording.results[LoraConfig(2, 8, 4, 128)]
    assert result.success
    assert result.minimum_memory_bytes == result.peak_memory_bytes == 1_000_500_000
    assert result.step_time_s == pytest.approx(0.02)
    assert result.tokens_per_second == pytest.approx(2 * 127 / 0.02)


def test_the_files_own_sequence_length_and_minimum_count(tmp_path: Path) -> None:
    rows = [row(minimum_memory_mb=800.0), row(2, max_seq_length=512, minimum_memory_mb=1.0)]
    recording = read_recording(write(tmp_path, rows, seq_length=256), 128)
    assert recording.has_minima
    assert recording.measured_values(MAX_SEQ_LENGTH) == (256, 512)
    assert recording.results[LoraConfig(1, 8, 4, 256)].minimum_memory_bytes == 800_000_000
    assert LoraConfig(2, 8, 4, 512) in recording.results


def test_lengths_and_checkpointing_choose_among_what_was_recorded(tmp_path: Path) -> None:
    rows = [
        row(max_seq_length=length, grad_checkpoint=checkpoint)
        for length, checkpoint in ((128, False), (256, False), (256, True), (512, True))
    ]
    recording = read_recording(write(tmp_path, rows), 64)
    assert recording.measured_values(MAX_SEQ_LENGTH) == (128, 256, 512)
    assert recording.measured_values(GRAD_CHECKPOINT) == (False, True)
    assert recorded_configs(recording, {}) == [
        LoraConfig(1, 8, 4, 128),
        LoraConfig(1, 8, 4, 256, grad_checkpoint=True),
        LoraConfig(1, 8, 4, 256),
        LoraConfig(1, 8, 4, 512, grad_checkpoint=True),
    ]
    [only] = read_recording(
        write(tmp_path, [row()], settings={"max_seq_length": [8, 9]}), 64
    ).results
    assert only.max_seq_length == 64, "of several that a profile names none is the row's"
    asked = {"max_seq_length": (128, 256), "grad_checkpoint": (False,)}
    assert recorded_configs(recording, asked) == [
        LoraConfig(1, 8, 4, 128),
        LoraConfig(1, 8, 4, 256),
    ]
    with pytest.raises(
        OptionError, match="seq-length: .* recorded with 128, 256, 512, not with 64, 1024: leave"
    ):
        recorded_configs(recording, {"max_seq_length": (64, 128, 1024)})
    with pytest.raises(
        OptionError, match="seq-length, --yourai-grad-checkpoint: .* no configuration with all of"
    ):
        recorded_configs(recording, {"max_seq_length": (128,), "grad_checkpoint": (True,)})


@pytest.mark.parametrize(
    ("error", "more", "expected"),
    [
        ("cudaMallocAsync(&data, size, stream) failed: out of memory", {}, Outcome.OOM),
        ("ValueError: shapes do not match", {}, Outcome.ERROR),
        ("it died", {"outcome": "crashed"}, Outcome.CRASHED),
        (None, {}, Outcome.ERROR),
        ("OOM", {}, Outcome.OOM),
        ("it exceeds the memory limit", {}, Outcome.OOM),
    ],
)
def test_failed_rows_keep_their_reason(
    tmp_path: Path, error: str | None, more: dict[str, Any], expected: Outcome
) -> None:
    failed = row(success=False, error=error, peak_memory_mb=None, step_time_ms=None, **more)
    [result] = read_recording(write(tmp_path, [failed]), 128).results.values()
    assert result.outcome is expected
    assert result.reason == (error or "failed, its recording does not say why")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not JSON"),
        ("[]", "it must have the keys model and all_results"),
        ('{"all_results": [1]}', "model: it must name the model"),
        ('{"model": "m", "all_results": []}', "all_results: it must be a list of measured rows"),
        ('{"model": "m", "all_results": [{}]}', "all_results: row 1: batch_size: it is missing"),
        (
            json.dumps({"model": "m", "all_results": [row("x")]}),
            "a valid integer (found 'x')",
        ),
        (
            json.dumps({"model": "m", "all_results": [row(0)]}),
            "batch_size: input should be greater",
        ),
        (
            json.dumps({"model": "m", "all_results": [row(step_time_ms=0)]}),
            "it is a success, but peak_memory_mb or step_time_ms",
        ),
        (json.dumps({"model": "m", "all_results": [row(success="yes")]}), "true or false"),
        (json.dumps({"model": "m", "all_results": [None]}), "row 1: it must be an object"),
        (
            json.dumps({"model": "m", "all_results": [row(10**400)]}),
            "batch_size: input should be less",
        ),
        (
            json.dumps({"model": "m", "all_results": [row(peak_memory_mb=10**400)]}),
            "it is a success, but peak_memory_mb",
        ),
        (
            json.dumps({"model": "m", "all_results": [row(success=False, outcome="skipped")]}),
            "none of its rows was measured",
        ),
    ],
)
def test_what_is_not_a_recording_is_refused_in_one_sentence(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "recorded.json"
    path.write_text(text)
    with pytest.raises(RecordingError) as caught:
        read_recording(path, 128)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recording_that_names_no_known_backend_is_of_cuda() -> None:
    assert backend_of(Environment(backend="metal")) == "metal"
    assert backend_of(Environment(backend="rocm")) == backend_of(Environment()) == "cuda"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_recording(tmp_path / "nothing.json", 128)


def test_what_cannot_be_an_amount_is_taken_for_none(tmp_path: Path) -> None:
    rows = [row(minimum_memory_mb=1e300, outcome=["ok"])]
    recording = read_recording(write(tmp_path, rows, memory_limit_gb=1e305), 128)
    assert recording.memory_limit_bytes is None
    assert not recording.has_minima


def test_minima_in_bytes_count_and_one_missing_makes_all_uncertain(tmp_path: Path) -> None:
    given = row(minimum_memory_bytes=800_000_000)
    recording = read_recording(write(tmp_path, [given]), 128)
    assert recording.has_minima
    assert recording.results[LoraConfig(1, 8, 4, 128)].minimum_memory_bytes == 800_000_000
    assert not read_recording(write(tmp_path, [given, row(2)]), 128).has_minima


def test_a_success_is_not_lost_to_a_second_row_of_the_same(tmp_path: Path) -> None:
    failed = row(success=False, error="it died", outcome="crashed")
    for rows in ([row(), failed], [failed, row()]):
        [result] = read_recording(write(tmp_path, rows), 128).results.values()
        assert result.success
