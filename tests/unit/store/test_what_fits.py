"""What fits where: from profiles to the cells of a table."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.config import Objective
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.store.what_fits.machine import Machine, same_machines
from pytest_yourai.store.what_fits.many_files import prepare_process
from pytest_yourai.store.what_fits.measured import Collection, read_collection
from pytest_yourai.store.what_fits.table import Fit, FitsTable, Mark

from support.fits import GB, MAX_64, PRO_24, of_machine, written
from support.profiles import DATA, QUICK


def table_of(folder: Path, *documents: dict[str, Any], **others: Any) -> FitsTable:
    return FitsTable.of(read_collection([written(folder, *documents)]).profiles, **others)


def cells(table: FitsTable) -> dict[str, Fit]:
    """By the title of the machine, of a table with one training."""
    return {machine.title: fit for machine, _, fit in table.rows()}


def change_rows(**values: Any) -> Any:
    def change(found: dict[str, Any]) -> None:
        for row in found["all_results"]:
            row.update(values)

    return change


def setting(**values: Any) -> Any:
    return lambda found: found["settings"].update(values)


def test_a_cell_has_the_best_that_was_measured(tmp_path: Path) -> None:
    table = table_of(tmp_path, of_machine(MAX_64, 51))
    [(machine, training, fit)] = table.rows()
    assert (machine.title, machine.memory) == ("Apple M4 Max, 40 GPU cores", "68.7 GB (64 GiB)")
    assert machine.software == "metal, MLX 0.32.4"
    assert (training.model, training.quantization) == ("llama-8b", "4-bit")
    assert (training.max_seq_length, training.recipe_text) == (512, "lora, adam, qkvo")
    assert str(fit.config) == "batch=4, rank=128, layers=32"
    assert (fit.mark, fit.runs, fit.spread) == (Mark.MEASURED, 1, None)
    assert fit.needs_bytes == 18_870_379_048
    assert fit.tokens_per_second == pytest.approx(3439.97)
    assert (fit.limit_bytes, fit.measured_on) == (51 * GB, machine)


def test_the_fastest_may_be_another_one(tmp_path: Path) -> None:
    table = table_of(tmp_path, of_machine(MAX_64, 51), objective=Objective.TOKENS_PER_SECOND)
    fit = cells(table)["Apple M4 Max, 40 GPU cores"]
    fastest = max(row["tokens_per_second"] for row in json.loads(QUICK.read_text())["all_results"])
    assert fit.tokens_per_second == pytest.approx(fastest)


def test_minimum_memory_is_carried_over_and_speed_is_not(tmp_path: Path) -> None:
    def other_model(found: dict[str, Any]) -> None:
        found["model"] = "another"

    table = table_of(
        tmp_path, of_machine(MAX_64, 51), of_machine(PRO_24, 13, other_model), of_machine(PRO_24, 9)
    )
    small, large = sorted(table.machines, key=lambda each: each.memory_bytes or 0)
    llama, another = sorted(table.trainings, key=lambda each: each.model != "llama-8b")
    assert table.cells[small, llama].mark is Mark.MEASURED
    carried = table.cells[large, another]
    assert carried.mark is Mark.CARRIED_OVER
    # What did not fit there has a minimum, which is enough.
    assert str(carried.config) == "batch=4, rank=128, layers=32"
    assert carried.needs_bytes == 18_870_379_048
    assert (carried.tokens_per_second, carried.measured_on) == (None, small)
    assert carried.limit_bytes == 51 * GB


@pytest.mark.parametrize(
    "other",
    [
        PRO_24 | {"backend": "cpu"},
        PRO_24 | {"versions": {"mlx": "0.31.0"}},
        PRO_24 | {"versions": {}},
        PRO_24 | {"system_memory_bytes": None},
    ],
    ids=["backend", "MLX", "unknown MLX", "unknown memory"],
)
def test_nothing_is_carried_over_to_another_mlx(tmp_path: Path, other: dict[str, Any]) -> None:
    def of_another(found: dict[str, Any]) -> None:
        found["model"] = "another"

    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(other, None, of_another))
    assert [each.model for machine, each, _ in table.rows() if machine.name == "Apple M4 Pro"] == [
        "another"
    ]


def test_where_no_minimum_was_measured_nothing_is_carried_over(tmp_path: Path) -> None:
    def died(found: dict[str, Any]) -> None:
        found["model"] = "another"
        change_rows(outcome="oom", minimum_memory_bytes=None, peak_memory_bytes=None)(found)

    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(PRO_24, None, died))
    assert [each.mark for *_, each in table.rows()] == [
        Mark.MEASURED,
        Mark.CARRIED_OVER,
        Mark.DOES_NOT_FIT,
    ]
    *_, fit = next(each for each in table.rows() if each[2].mark is Mark.DOES_NOT_FIT)
    assert (fit.needs_bytes, fit.limit_bytes, fit.runs) == (None, None, 12)


def test_what_was_tried_and_does_not_fit(tmp_path: Path) -> None:
    table = table_of(tmp_path, of_machine(PRO_24, 5))
    [fit] = cells(table).values()
    assert (fit.mark, fit.config, fit.tokens_per_second) == (Mark.DOES_NOT_FIT, None, None)
    assert (fit.needs_bytes, fit.limit_bytes) == (6_903_805_976, 5 * GB)


def test_what_would_not_fit_by_the_minimum_of_another_machine(tmp_path: Path) -> None:
    def tiny(found: dict[str, Any]) -> None:
        found["model"] = "tiny"

    air = MAX_64 | {"chip": "Apple M1", "gpu_cores": None, "system_memory_bytes": 8 << 30}
    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(air, None, tiny))
    [machine] = [each for each in table.machines if each.name == "Apple M1"]
    assert machine.title == "Apple M1"
    [llama] = [each for each in table.trainings if each.model == "llama-8b"]
    fit = table.cells[machine, llama]
    assert (fit.mark, fit.config) == (Mark.WOULD_NOT_FIT, None)
    # The default budget, and the least that was measured.
    assert (fit.limit_bytes, fit.needs_bytes) == (round(0.8 * (8 << 30)), 6_903_805_976)


def test_several_runs_have_a_spread(tmp_path: Path) -> None:
    runs = [of_machine(MAX_64, 51, speed=speed) for speed in (1.0, 1.02, 0.98)]
    [fit] = cells(table_of(tmp_path, *runs)).values()
    assert fit.runs == 3
    assert fit.tokens_per_second == pytest.approx(3439.97)
    assert fit.spread == pytest.approx(0.04)


def test_a_copy_is_no_further_run(tmp_path: Path) -> None:
    [fit] = cells(table_of(tmp_path, of_machine(MAX_64, 51), of_machine(MAX_64, 51))).values()
    assert (fit.runs, fit.spread) == (1, None)


def test_needs_are_the_largest_of_the_runs(tmp_path: Path) -> None:
    def more(found: dict[str, Any]) -> None:
        for row in found["all_results"]:
            row["minimum_memory_bytes"] += 1000
            row["warmup_step_times_s"] = [1.0]

    table = table_of(tmp_path, of_machine(MAX_64, 51, more), of_machine(MAX_64, 51))
    [fit] = cells(table).values()
    assert (fit.runs, fit.needs_bytes) == (2, 18_870_380_048)


def test_a_failure_within_less_memory_says_nothing_of_more(tmp_path: Path) -> None:
    [fit] = cells(table_of(tmp_path, of_machine(MAX_64, 51), of_machine(MAX_64, 5))).values()
    assert (fit.mark, fit.runs) == (Mark.MEASURED, 1)
    assert str(fit.config) == "batch=4, rank=128, layers=32"


def test_a_failure_within_as_much_memory_contradicts(tmp_path: Path) -> None:
    def out_of_memory(found: dict[str, Any]) -> None:
        change_rows(outcome="oom", success=False, error="it was too much")(found)

    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(MAX_64, 60, out_of_memory, 2.0))
    [fit] = cells(table).values()
    assert fit.mark is Mark.DOES_NOT_FIT


@pytest.mark.parametrize(
    "change",
    [
        change_rows(outcome="timeout", success=False),
        change_rows(outcome="oom", success=False, conclusive=False),
        change_rows(outcome="skipped", success=False, started=False),
    ],
)
def test_what_says_nothing_of_memory_is_in_no_cell(tmp_path: Path, change: Any) -> None:
    assert not table_of(tmp_path, of_machine(MAX_64, 51, change)).cells


def test_recipes_lengths_and_data_are_columns_of_their_own(tmp_path: Path) -> None:
    dropped = change_rows(dropout=0.05, grad_accumulation_steps=4, lora_keys="all")
    in_full = change_rows(fine_tune_type="full", lora_rank=0, lora_keys="qv", optimizer="adafactor")
    longer = change_rows(max_seq_length=1024, grad_checkpoint=True)
    settings = [setting(data="rows"), setting(quantization=None), setting(model="mlx/llama")]
    table = table_of(
        tmp_path,
        *(of_machine(MAX_64, 51, each) for each in (dropped, in_full, longer, *settings)),
    )
    assert [
        (each.model, each.quantization, each.max_seq_length, each.recipe_text)
        for each in table.trainings
    ] == [
        ("llama-8b", "4-bit", 512, "full, adafactor"),
        ("llama-8b", "4-bit", 512, "lora, adam, all, dropout 0.05, accumulation 4"),
        ("llama-8b", "4-bit", 512, "lora, adam, qkvo, data rows"),
        ("llama-8b", "4-bit", 1024, "lora, adam, qkvo"),
        ("llama-8b", "not quantized", 512, "lora, adam, qkvo"),
        ("mlx/llama", "4-bit", 512, "lora, adam, qkvo"),
    ]


def test_models_are_listed_from_small_to_large(tmp_path: Path) -> None:
    def smaller(found: dict[str, Any]) -> None:
        found["model"] = "z-small"
        for row in found["all_results"]:
            row["minimum_memory_bytes"] //= 4

    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(MAX_64, 51, smaller))
    assert [each.model for each in table.trainings] == ["z-small", "llama-8b"]


def test_several_that_train_together_are_a_machine_of_their_own(tmp_path: Path) -> None:
    together = setting(world_size=2, distributed_backend="ring")
    table = table_of(tmp_path, of_machine(MAX_64, 51), of_machine(MAX_64, 51, together))
    assert [each.title for each in table.machines] == [
        "Apple M4 Max, 40 GPU cores",
        "2 × Apple M4 Max, 40 GPU cores, ring",
    ]
    assert len(table.cells) == 2


def test_a_machine_keeps_its_place_with_a_little_other_memory() -> None:
    sizes = [100 * GB, 103 * GB, 120 * GB, None]
    given = [Machine("H200", None, size, "cuda", "0.32.4") for size in sizes]
    found = same_machines(given)
    assert [found[each].memory_bytes for each in given] == [100 * GB, 100 * GB, 120 * GB, None]
    assert given[-1].memory == "?"


def test_the_memory_of_a_gpu_is_its_own() -> None:
    [profile] = read_collection([QUICK]).profiles
    assert (profile.machine.name, profile.machine.memory_bytes) == ("NVIDIA H200", 150_754_820_096)


def test_a_machine_without_a_name(tmp_path: Path) -> None:
    [machine] = table_of(tmp_path, of_machine({}, None)).machines
    assert machine.title == "a machine without a name"
    assert machine.software == "?, MLX ?"


def test_folders_are_read_to_their_ends_and_others_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    written(folder, of_machine(MAX_64, 51), of_machine(MAX_64, 51, setting(replay="x.json")))
    (folder / "other.json").write_text("[]")
    found = read_collection([tmp_path])
    assert len(found.profiles) == 1
    assert [each.name.rpartition("/")[2] for each in found.left_out] == ["1.json", "other.json"]
    assert "settings.replay: it repeats a recording" in found.left_out[0].why


def test_benchmark_results_are_several_profiles() -> None:
    found = read_collection([DATA / "h200_benchmark_24gb.json"])
    assert len(found.profiles) == 5


def test_peaks_are_no_minima(tmp_path: Path) -> None:
    peaks = setting(peaks_stand_in_for_minima=True)
    with pytest.raises(RecordingError, match="nothing to show: .*it has no minimum memory"):
        read_collection([written(tmp_path, of_machine(MAX_64, 51, peaks))])


def test_a_file_that_was_named_must_be_a_profile(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(RecordingError, match=r"x\.json is not a profile"):
        read_collection([QUICK, tmp_path / "x.json"])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nothing to show: there is no JSON file"):
        read_collection([tmp_path])


def test_the_collector_of_cycles_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[str] = []
    monkeypatch.setattr("gc.enable", lambda: enabled.append("enabled"))
    monkeypatch.setattr("gc.isenabled", lambda: False)
    assert isinstance(read_collection([QUICK]), Collection)
    assert enabled == []


def test_many_files_are_read_by_several_processes(tmp_path: Path) -> None:
    document = json.dumps(of_machine(MAX_64, 51))
    for number in range(500):
        (tmp_path / f"{number}.json").write_text("[]" if number else document)
    found = read_collection([tmp_path], processes=2)
    alone = read_collection([tmp_path])
    assert found == alone
    assert (len(found.profiles), len(found.left_out)) == (1, 499)


def test_a_process_that_reads_leaves_interruptions_to_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("signal.signal", lambda *given: calls.append(given))
    monkeypatch.setattr("gc.disable", lambda: calls.append("disabled"))
    prepare_process()
    assert calls == [(signal.SIGINT, signal.SIG_IGN), "disabled"]


def test_the_seal_is_not_looked_at(tmp_path: Path) -> None:
    changed = of_machine(MAX_64, 51) | {"digest": "sha256:0"}
    assert read_collection([written(tmp_path, changed)]).profiles
