from pathlib import Path
from typing import Any

from pytest_yourai.report.tables import aligned
from pytest_yourai.store.stored_profile import read_profiles

from support.profiles import stored

DATA = Path(__file__).parents[2] / "data"
QUICK_PATH = DATA / "h200_llama8b_quick.json"
WALK_PATH = DATA / "h200_benchmark_24gb.json"
QUICK, WALK = read_profiles(QUICK_PATH), read_profiles(WALK_PATH)


def test_columns_stand_under_their_headings() -> None:
    lines = list(aligned(QUICK))
    assert lines[:3] == [
        "   batch  rank  layers    needs    takes   step  tokens/s      ±   score  outcome",
        "*      4   128      32  18.9 GB  24.5 GB  0.59s     3,440  0.5 %  16,384  ok",
        "       4   128      16  12.1 GB  19.5 GB  0.43s     4,759  0.2 %   8,192  ok",
    ]
    assert len({line.rindex("ok") for line in lines[1:]}) == 1
    assert [line[0] for line in lines[1:]] == ["*", *" " * 11]


def test_several_models_are_named_and_several_files_too() -> None:
    assert "  hermes-mistral-7b  " in list(aligned(WALK))[1]
    lines = list(aligned([*QUICK, *WALK]))
    assert lines[1].startswith(f"*  llama-8b ({QUICK_PATH})  ")
    assert lines[-1].startswith(f"   hermes-70b ({WALK_PATH})  ")
    assert "–      –" in lines[-1]


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
    assert lines[-2:] == [
        "The 2 fastest are within noise of each other: their ranges (±) overlap",
        "! some steps took far longer or shorter than the others",
    ]
    assert not any(line.startswith("The ") for line in aligned(QUICK))
    both = list(aligned([stored(alike, "a.json"), stored(alike, "b.json")]))
    assert both[-4].startswith("llama-8b (a.json): The 2 fastest")
