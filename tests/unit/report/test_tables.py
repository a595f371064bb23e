from pathlib import Path
from typing import Any

from pytest_yourai.core.ranking import pareto
from pytest_yourai.report.tables import aligned, ranked_rows
from pytest_yourai.store.profile_reader import read_profiles

from support.profiles import slower, stored

DATA = Path(__file__).parents[2] / "data"
QUICK_PATH = DATA / "h200_llama8b_quick.json"
WALK_PATH = DATA / "h200_benchmark_24gb.json"
QUICK, WALK = read_profiles(QUICK_PATH), read_profiles(WALK_PATH)


def test_columns_stand_under_their_headings() -> None:
    lines = list(aligned(QUICK))
    assert lines[:3] == [
        (
            "   batch  rank  layers    needs    takes   step  tokens/s      ±   score  "
            "answer            outcome"
        ),
        (
            "*      4   128      32  18.9 GB  24.5 GB  594ms     3,440  0.5 %  16,384  "
            "largest           ok"
        ),
        (
            "*      4   128      16  12.1 GB  19.5 GB  429ms     4,759  0.2 %   8,192  "
            "                  ok"
        ),
    ]
    assert len({line.rindex("ok") for line in lines[1:13]}) == 1
    [profile] = QUICK
    unbeaten = [each.config for each in pareto(profile.successes)]
    assert [line[0] == "*" for line in lines[1:13]] == [
        each.config in unbeaten for each in ranked_rows(profile)
    ]
    assert lines[13] == "* unbeaten in capacity, speed and memory, beyond noise"


def test_below_stand_the_answers_whether_they_fit_and_their_commands() -> None:
    lines = list(aligned(QUICK))[14:]
    train = f"  yourai train --model llama-8b --profile {QUICK_PATH} --weights hub --data FOLDER"
    assert lines == [
        "",
        "Largest: batch=4, rank=128, layers=32 (3,440 tokens/s, needs 18.9 GB)",
        "  Fits: needs 18.9 of 110.0 GB, uses up to 24.5 GB when allowed.",
        f"{train} --pick largest",
        "",
        "Fastest, leanest: batch=4, rank=64, layers=16 (4,833 tokens/s, needs 11.8 GB)",
        "  Fits: needs 11.8 of 110.0 GB, uses up to 22.1 GB when allowed.",
        f"{train} --pick fastest",
    ]


def test_a_headline_that_is_beaten_says_by_what_and_has_no_star() -> None:
    beaten = stored(slower(4.0, 11))
    lines = list(aligned([beaten]))
    assert lines[1].startswith("       4   128      32 ")
    assert (
        "  Note: batch=2, rank=128, layers=32 is faster in less memory (3,430 tokens/s, needs "
        "12.5 GB)"
    ) in lines


def test_several_models_are_named_and_several_files_too() -> None:
    assert "  hermes-mistral-7b  " in list(aligned(WALK))[1]
    lines = list(aligned([*QUICK, *WALK]))
    assert lines[1].startswith(f"*  llama-8b ({QUICK_PATH})  ")
    last = lines[len(QUICK[0].results) + len(WALK)]
    assert last.startswith(f"   hermes-70b ({WALK_PATH})  ")
    assert "–      –" in last
    answers = [line for line in lines if ": batch=" in line]
    assert [line.split(": ")[:2] for line in answers] == [
        [f"llama-8b ({QUICK_PATH})", "Largest"],
        [f"llama-8b ({QUICK_PATH})", "Fastest, leanest"],
    ], "a check is no choice"


def test_an_order_that_noise_could_have_made_says_so() -> None:
    def alike(it: dict[str, Any]) -> None:
        for number, row in enumerate(it["all_results"]):
            # Equal steps, so that rows of a larger batch are faster; two of them hardly.
            factor = 1 if number == 0 else 1.5 + number
            times_s = [each * factor for each in (1.0, 1.05, 0.95, 1.0)]
            row.update(step_times_s=[*times_s, 2 * times_s[0]] * 2, step_tokens=[1000] * 10)
        it["all_results"][1]["step_times_s"] = it["all_results"][0]["step_times_s"]

    lines = list(aligned([stored(alike)]))
    assert "  7.4 %!  " in lines[1]
    notes = lines[lines.index("") - 2 : lines.index("")]
    assert notes == [
        "The 2 fastest are within noise of each other: their ranges (±) overlap",
        "! some steps took far longer or shorter than the others",
    ]
    assert not any(line.startswith("The ") for line in aligned(QUICK))
    both = list(aligned([stored(alike, "a.json"), stored(alike, "b.json")]))
    assert both[both.index("") - 4].startswith("llama-8b (a.json): The 2 fastest")
