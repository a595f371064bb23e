from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_yourai.core.config import LoraConfig, Quantization
from pytest_yourai.core.errors import OutputError
from pytest_yourai.estimate.memory_estimate import MemoryEstimate
from pytest_yourai.estimate.shorter_rows import ShorterRows
from pytest_yourai.machine.budget import Budget
from pytest_yourai.models.dataset_lengths import TrainingData
from pytest_yourai.plan.estimates_file import document, write
from pytest_yourai.plan.invocation import Invocation
from pytest_yourai.plan.nearest_fits import NearestFit
from pytest_yourai.plan.recommend import judge
from pytest_yourai.plan.recommendation import Recommendation, Recommendations, Verdict
from pytest_yourai.report import recommendation_lines

GB = 1_000_000_000


def lines(found: Recommendations) -> Iterator[str]:
    return recommendation_lines.lines(found, Invocation())


def estimate(weights_gb: float, activations_gb: float = 1, margin_gb: float = 0) -> MemoryEstimate:
    return MemoryEstimate(
        weights_bytes=round(weights_gb * GB),
        adapters_bytes=0,
        gradients_bytes=0,
        optimizer_bytes=0,
        activations_bytes=round(activations_gb * GB),
        logits_bytes=0,
        overhead_bytes=0,
        margin_bytes=round(margin_gb * GB),
        relative_error=0.02,
    )


def row(
    name: str, billions: float, verdict: Verdict, *, length: int = 512, bits: int | None = 4
) -> Recommendation:
    return Recommendation(
        asked_as=name,
        name=name,
        parameters=billions * 1e9,
        config=LoraConfig(2, 64, 16, length),
        quantization=Quantization(bits) if bits else None,
        estimate=estimate(billions / 2, 1, 1),
        verdict=verdict,
    )


def all_of(*rows: Recommendation, machine: str | None = None) -> Recommendations:
    budget = Budget(36 * GB, "as given", is_detected=machine is not None)
    return Recommendations(budget, machine, "metal", rows)


def test_data_is_described_and_shorter_rows_have_their_command() -> None:
    data = TrainingData((100,) * 97 + (500,) * 3)
    small = row("small", 7, Verdict.FITS)
    shorter = dataclasses.replace(small.config, max_seq_length=256)
    offer = ShorterRows(shorter, 3, 0.03, 0.01, 8_600_000_000, 14_100_000_000)
    with_data = dataclasses.replace(small, data=data, shorter=(offer,))
    text = list(lines(all_of(with_data)))
    assert "Training data: 100 rows, 11,200 tokens; a row has 100 to 500, median 100" in text
    offered, command = text[-2:]
    assert offered.startswith("Or with shorter rows, 256: 3 % of rows cut (1 % of tokens), needs ")
    assert offered.endswith(" 8.6 instead of 14.1 GB, by estimate")
    assert command == (
        "    pytest --yourai-model=small --yourai-batch-size=2 --yourai-rank=64 "
        "--yourai-num-layers=16 --yourai-seq-length=256"
    )
    two = "\n".join(lines(all_of(with_data, dataclasses.replace(with_data, name="other"))))
    assert "\nother: Training data: 100 rows" in two
    assert "Or with shorter rows of other, 256: 3 % of rows cut" in two
    assert "█" not in two
    [written] = document(all_of(with_data))["models"]
    assert written["shorter_rows"][0]["rows_cut"] == 3


def test_a_change_to_shorter_rows_says_how_many_it_cuts() -> None:
    small = row("small", 7, Verdict.FITS, length=512)
    fit = NearestFit(
        config=dataclasses.replace(small.config, max_seq_length=256),
        quantization=small.quantization,
        needs_bytes=5 * GB,
        estimate=small.estimate,
        wanted=small.config,
    )
    changed = dataclasses.replace(small, instead=fit, asked_bytes=8 * GB)
    data = TrainingData((100,) * 97 + (500,) * 3)
    of_data = list(lines(all_of(dataclasses.replace(changed, data=data))))
    assert "  small: rows of 256 tokens (3 % of rows cut); as asked 8.0 GB" in of_data
    assert "  small: rows of 256 tokens; as asked 8.0 GB" in list(lines(all_of(changed)))


SMALL = row("small", 7, Verdict.FITS)
LARGE = row("large", 14, Verdict.FITS)
TIGHT = row("tight", 30, Verdict.TIGHT)
TIGHTER = row("tighter", 34, Verdict.TIGHT)
NO = row("vast", 70, Verdict.NO)


@pytest.mark.parametrize(
    ("limit_gb", "verdict"),
    [(17.25, "fits"), (17.24, "tight"), (11.5, "tight"), (11.49, "no"), (0.001, "no")],
)
def test_the_margin_is_on_top_of_both_estimates(limit_gb: float, verdict: str) -> None:
    assert judge(estimate(9, 1, 5), round(limit_gb * GB)) == verdict


def test_the_largest_part_is_what_limits() -> None:
    assert NO.limited_by == "weights 35.0 GB of 36.0 GB"
    busy = dataclasses.replace(NO, estimate=estimate(1, 3.25))
    assert busy.limited_by == "activations 3.2 GB of 4.2 GB"
    assert busy.largest_component == "activations 3.2 GB"


NO_PARTS = (
    "margin_bytes",
    "relative_error",
    "ahead_bytes",
    "ahead_margin_bytes",
    "unlimited_bytes",
)
"""Fields of an estimate that are not in the minimum."""


def test_every_part_of_an_estimate_has_a_word() -> None:
    parts = [field.name for field in dataclasses.fields(MemoryEstimate)]
    for part in parts:
        if part not in NO_PARTS:
            only = dataclasses.replace(estimate(0, 0), **{part: GB})
            assert dataclasses.replace(SMALL, estimate=only).limited_by.endswith("1.0 GB of 1.0 GB")


def test_it_says_what_is_taken_without_a_limit_and_needed_under_one() -> None:
    def said(ahead_gb: float, margin_gb: float) -> list[str]:
        ahead = {"ahead_bytes": round(ahead_gb * GB), "ahead_margin_bytes": round(margin_gb * GB)}
        free = dataclasses.replace(estimate(7, 1, 1), **ahead)
        return list(lines(all_of(dataclasses.replace(LARGE, estimate=free))))[-4:-1]

    assert said(2, 0.5)[1:] == [
        "large takes 10.0 GB, at most 11.5 GB, with mlx_lm.lora (no limit)",
        "large needs 8.0 GB, at most 9.0 GB, with yourai train (limited)",
    ]
    assert said(2, 30)[2] == "Without a limit it may be over the budget: take yourai train"
    assert said(30, 1)[2] == "Without a limit it is over the budget: take yourai train"


def test_the_largest_that_fits_is_next_and_a_tight_one_only_without_it() -> None:
    assert all_of(LARGE, SMALL, TIGHT, NO).largest_that_fits is LARGE
    assert all_of(TIGHTER, TIGHT, NO).largest_that_fits is TIGHTER
    assert all_of(NO).largest_that_fits is None
    said = list(lines(all_of(SMALL, LARGE, NO)))
    assert said[-1] == "Next, the largest that fits: pytest --yourai-model=large --quick"
    assert list(lines(all_of(TIGHT)))[-1].startswith("Next, it may fit: ")
    assert list(lines(all_of(TIGHT, NO)))[-1].startswith("Next, the largest that may fit: ")
    assert list(lines(all_of(NO)))[-1].startswith("None fits, whatever is changed: ")


def test_the_toy_that_a_cpu_trains_in_seconds_is_not_called_the_largest() -> None:
    toy = row("toy", 0.0003, Verdict.FITS)
    found = dataclasses.replace(all_of(toy, SMALL), backend="cpu")
    said = list(lines(found))
    assert said[-1] == "Next, what a CPU trains in seconds: pytest --yourai-model=toy --quick"
    alone = dataclasses.replace(all_of(toy, NO), backend="cpu")
    assert list(lines(alone))[-1].startswith("Next, the largest that fits: ")


def changed(row: Recommendation) -> Recommendation:
    """`row` as it is where only one with checkpointing fits."""
    config = dataclasses.replace(row.config, grad_checkpoint=True)
    instead = NearestFit(config, row.quantization, 9 * GB, row.estimate, row.config)
    return dataclasses.replace(row, config=config, instead=instead, asked_bytes=12 * GB)


def test_what_fits_if_it_is_changed_is_shown_with_the_change_and_its_command() -> None:
    said = list(lines(all_of(changed(LARGE))))
    assert "  large: checkpointing; as asked 12.0 GB" in said
    assert any(line.startswith("large ") and "  changed  " in line for line in said)
    assert "changed  does not fit as asked, but as changed above" in said
    sizes = "--yourai-batch-size=2 --yourai-rank=64 --yourai-num-layers=16"
    command = f"pytest --yourai-model=large {sizes} --yourai-grad-checkpoint --quick"
    assert said[-1] == f"Next, it fits as changed: {command}"
    assert "  tight: checkpointing, maybe; as asked 12.0 GB" in list(lines(all_of(changed(TIGHT))))
    slower = changed(LARGE)
    assert all_of(slower, SMALL).largest_that_fits is slower, "the result is the same"
    assert slower.instead is not None
    instead = dataclasses.replace(slower.instead, is_requantized=True)
    assert all_of(dataclasses.replace(slower, instead=instead), SMALL).largest_that_fits is SMALL


def test_only_words_that_occur_are_explained() -> None:
    said = "\n".join(lines(all_of(SMALL)))
    assert "\nyes      fits" in said
    for word in ("maybe", "no", "changed"):
        assert f"\n{word} " not in said
    assert "         each with 15 % to spare" in said


def test_a_command_keeps_what_was_given_to_the_estimate() -> None:
    given = ("--yourai-recommend", "--yourai-max-memory=36", "--yourai-seq-length=2048", "-v")
    output = ("--yourai-output", "f.json", "--yourai-model=other")
    last = list(recommendation_lines.lines(all_of(LARGE), Invocation((*given, *output))))[-1]
    kept = "--yourai-max-memory=36 --yourai-seq-length=2048 -v"
    assert last == f"Next, it fits: pytest --yourai-model=large {kept} --quick"
    own = Invocation(("--yourai-matrix=m.yaml",))
    last = list(recommendation_lines.lines(all_of(LARGE), own))[-1]
    assert last == "Next, it fits: pytest --yourai-model=large --yourai-matrix=m.yaml"


def test_on_a_cpu_it_says_that_steps_take_minutes() -> None:
    on_cpu = dataclasses.replace(all_of(SMALL), backend="cpu")
    assert any("takes minutes on the CPU" in line for line in lines(on_cpu))
    assert not any("minutes" in line for line in lines(all_of(SMALL)))
    toy = dataclasses.replace(all_of(row("toy", 0.01, Verdict.FITS)), backend="cpu")
    assert not any("minutes" in line for line in lines(toy))


def test_a_folder_is_named_as_the_shell_takes_it() -> None:
    folder = dataclasses.replace(LARGE, asked_as="my models/a")
    last = list(lines(all_of(folder)))[-1]
    assert last == "Next, it fits: pytest '--yourai-model=my models/a' --quick"


def test_settings_that_most_share_are_shown_once() -> None:
    odd = row("odd", 1, Verdict.FITS, length=64, bits=None)
    said = list(lines(all_of(odd, SMALL, LARGE)))
    assert "Rows of 512 (odd: 64) tokens, 4-bit (odd: not quantized)" in said
    assert "Rows of 64 tokens, not quantized" in list(lines(all_of(odd)))


def test_the_header_says_whose_memory_it_is() -> None:
    said = "\n".join(lines(all_of(SMALL, machine="Apple M3 Max, 38.7 GB (36 GiB)")))
    assert said.startswith("Estimates for Apple M3 Max, 38.7 GB (36 GiB): nothing was run\n")
    assert "GPU" not in said
    given = list(lines(all_of(SMALL)))
    assert given[0] == "Estimates: nothing was run"
    assert given[1] == "Budget: 36.0 GB (as given), training on Metal"
    on_linux = dataclasses.replace(all_of(SMALL, machine="AMD EPYC, 25 GB"), backend="cuda")
    assert "--yourai-max-memory" in "\n".join(lines(on_linux))


def test_the_table_is_for_80_columns_and_any_encoding() -> None:
    rows = (changed(SMALL), LARGE, TIGHT, row("hermes-mistral-7b", 70, Verdict.NO))
    for line in lines(dataclasses.replace(all_of(*rows), backend="cpu")):
        assert len(line) <= 80
        assert line.isascii()
        assert line == line.rstrip()


def test_the_document_has_the_parts_and_their_sum() -> None:
    found = document(all_of(SMALL, row("odd", 1, Verdict.NO, bits=None)))
    assert found["schema_version"] == 1
    assert found["estimates_only"] is True
    assert found["memory_limit_gb"] == 36
    first, second = found["models"]
    assert first["name"] == "small"
    assert first["params"] == "7B"
    assert first["verdict"] == "fits"
    assert first["minimum_memory_bytes"] == 4.5 * GB
    assert first["conservative_memory_bytes"] == 5.5 * GB
    assert first["weights_bytes"] == 3.5 * GB
    assert (first["batch_size"], first["lora_rank"], first["lora_layers"]) == (2, 64, 16)
    assert (first["max_seq_length"], first["quantization_bits"]) == (512, 4)
    assert first["limited_by"] == "weights 3.5 GB of 4.5 GB"
    assert second["quantization_bits"] is None
    assert (first["change"], first["asked_minimum_memory_bytes"]) == (None, None)
    [third] = document(all_of(changed(SMALL)))["models"]
    assert (third["change"], third["asked_minimum_memory_bytes"]) == ("checkpointing", 12 * GB)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not a regular file"):
        write(tmp_path, all_of(SMALL))
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "absent" / "r.json", all_of(SMALL))
