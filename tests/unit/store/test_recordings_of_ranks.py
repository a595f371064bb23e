import json
from pathlib import Path

import pytest

from pytest_yourai.api.profile import load
from pytest_yourai.core.errors import RecordingError
from pytest_yourai.store.profile_reader import profiles_in

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("backend", ["nccl", "ring"])
@pytest.mark.parametrize(("gpus", "in_both"), [(2, 4), (4, 6)])
def test_each_rank_needed_what_its_share_of_the_batch_needs_alone(
    gpus: int, in_both: int, backend: str
) -> None:
    alone = load(DATA / f"hosts_{gpus}xh200_alone.json")
    together = load(DATA / f"hosts_{gpus}xh200_{backend}.json")
    of_share = {
        (row.config.batch_size * gpus, row.config.rank): row.minimum_memory_bytes
        for row in alone.rows
        if row.success
    }
    compared = 0
    for row in together.rows:
        assert len(row.ranks) == gpus
        assert row.all_sum_bytes
        share = row.communication_share
        assert share is not None
        assert 0 < share < 0.2
        expected = of_share.get((row.config.batch_size, row.config.rank))
        if expected is not None:
            compared += 1
            for rank in row.ranks:
                assert rank.minimum_memory_bytes == pytest.approx(expected, rel=0.005)
    assert compared == in_both


def test_rows_of_one_process_have_no_keys_of_ranks() -> None:
    document = json.loads((DATA / "hosts_2xh200_alone.json").read_text())
    assert not any("ranks" in row for row in document["all_results"])


@pytest.mark.parametrize("ranks", ["2", 0, -2, 2.5, True, 10**12])
def test_what_is_not_a_number_of_ranks_is_not_taken_for_one_process(ranks: object) -> None:
    document = json.loads((DATA / "hosts_2xh200_ring.json").read_text())
    document["settings"]["world_size"] = ranks
    with pytest.raises(
        RecordingError, match=r"p\.json: settings\.world_size: .* is not a number of"
    ):
        profiles_in(document, "p.json")
