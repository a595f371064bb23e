"""Which answer of a profile a run trains with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_yourai.core.answers import Pick
from pytest_yourai.core.errors import OptionError
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.models.resolve import resolve
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.training.measured_profile import ChosenConfig, Picked
from pytest_yourai.training.resolve_settings import resolve_options
from pytest_yourai.training.start import begin

from support.profiles import slower, stored
from support.training import asked

MODEL = resolve("llama-8b", Path("llama-8b"), "synthetic", read_presets(packaged_models()))


def picked(profile: StoredProfile, folder: Path, **values: Any) -> tuple[int, int, int]:
    """Batch size, rank and layers of what is trained."""
    found = Picked.of(profile, asked(folder, **values), MODEL).result
    assert found is not None
    return found.config.batch_size, found.config.rank, found.config.num_layers


def test_without_a_pick_it_is_the_optimum_of_the_file(tmp_path: Path) -> None:
    assert picked(stored(), tmp_path) == (4, 128, 32)
    by_speed = stored(lambda found: found.update(objective="tokens_per_second"))
    assert by_speed.optimum is not None
    assert picked(by_speed, tmp_path) == (4, 128, 32), "the file names it"


def test_a_pick_is_one_of_the_answers(tmp_path: Path) -> None:
    profile = stored(slower(1.02, 7))
    assert picked(profile, tmp_path, pick=Pick.LARGEST) == (4, 128, 32)
    assert picked(profile, tmp_path, pick=Pick.FASTEST) == (4, 128, 16)
    assert picked(profile, tmp_path, pick=Pick.LEANEST) == (2, 64, 16)


def test_flags_restrict_the_choice_to_what_agrees(tmp_path: Path) -> None:
    assert picked(stored(), tmp_path, rank=64) == (4, 64, 32)
    assert picked(stored(), tmp_path, batch_size=1, pick=Pick.FASTEST) == (1, 64, 16)
    assert picked(stored(), tmp_path, num_layers=32, pick=Pick.FASTEST) == (4, 64, 32)
    assert picked(stored(), tmp_path, num_layers=-1, pick=Pick.FASTEST) == (4, 64, 32)


def test_where_nothing_agrees_with_a_flag_the_others_still_restrict_the_choice(
    tmp_path: Path,
) -> None:
    assert picked(stored(), tmp_path, rank=16) == (4, 128, 32)
    assert picked(stored(), tmp_path, rank=16, batch_size=2) == (2, 128, 32)


def test_what_nothing_agrees_with_is_said(tmp_path: Path) -> None:
    options = asked(tmp_path, rank=7, max_seq_length=512, dropout=0.1, pick=Pick.FASTEST)
    [warning] = Picked.of(stored(), options, MODEL).warnings("p.json")
    assert warning == (
        "p.json has no row with rank 7, dropout 0.1: the rest is that of its fastest, which has "
        "rank 64, dropout 0"
    )
    known = asked(tmp_path, rank=64)
    assert not list(Picked.of(stored(), known, MODEL).warnings("p.json"))


def test_where_flags_leave_the_batch_alone_it_is_the_fastest_as_in_a_sweep(tmp_path: Path) -> None:
    profile = stored(slower(3, 11))
    one = {"rank": 128, "num_layers": 32}
    assert picked(profile, tmp_path, **one, pick=Pick.LARGEST) == (4, 128, 32)
    assert picked(profile, tmp_path, **one) == picked(profile, tmp_path, **one, pick=Pick.FASTEST)
    assert picked(profile, tmp_path, **one) != (4, 128, 32)
    assert picked(profile, tmp_path, rank=128) == (4, 128, 32)


def test_by_speed_the_flags_restrict_the_choice_of_the_fastest(tmp_path: Path) -> None:
    by_speed = stored(lambda found: found.update(objective="tokens_per_second"))
    assert picked(by_speed, tmp_path, batch_size=1) == (1, 64, 16)


@pytest.mark.parametrize("pick", [None, Pick.FASTEST])
def test_which_answer_it_is_is_shown_with_who_chose_it(tmp_path: Path, pick: Pick | None) -> None:
    chosen = ChosenConfig.of_profile(
        stored(), asked(tmp_path, pick=pick), MODEL, "p.json", is_of_this_model=True
    )
    found = begin(asked(tmp_path, pick=pick, profile=tmp_path / "p.json"))
    used = {each.name: each for each in resolve_options(found, chosen).used}
    expected = ("largest", "p.json") if pick is None else ("fastest", "--pick")
    assert (used["pick"].value, used["pick"].origin) == expected


def test_a_pick_without_anything_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--pick fastest chooses among measured"):
        begin(asked(tmp_path, pick=Pick.FASTEST))
