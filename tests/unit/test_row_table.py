from pathlib import Path

from pytest_yourai.report.tables import aligned
from pytest_yourai.store.stored_profile import read_profiles

DATA = Path(__file__).parents[1] / "data"
QUICK_PATH = DATA / "h200_llama8b_quick.json"
WALK_PATH = DATA / "h200_benchmark_24gb.json"
QUICK, WALK = read_profiles(QUICK_PATH), read_profiles(WALK_PATH)


def test_columns_stand_under_their_headings() -> None:
    lines = list(aligned(QUICK))
    assert lines[:3] == [
        "   batch  rank  layers    needs    takes   step  tokens/s   score  outcome",
        "*      4   128      32  18.9 GB  24.5 GB  0.59s     3,440  16,384  ok",
        "       4   128      16  12.1 GB  19.5 GB  0.43s     4,759   8,192  ok",
    ]
    assert len({line.rindex("ok") for line in lines[1:]}) == 1
    assert [line[0] for line in lines[1:]] == ["*", *" " * 11]


def test_several_models_are_named_and_several_files_too() -> None:
    assert "  hermes-mistral-7b  " in list(aligned(WALK))[1]
    lines = list(aligned([*QUICK, *WALK]))
    assert lines[1].startswith(f"*  llama-8b ({QUICK_PATH})  ")
    assert lines[-1].startswith(f"   hermes-70b ({WALK_PATH})  ")
    assert "–      –" in lines[-1]
