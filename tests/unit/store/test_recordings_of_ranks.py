import json
from pathlib import Path

import pytest

from pytest_yourai.api.profile import load

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("backend", ["nccl", "ring"])
def test_each_rank_of_two_gpus_needed_what_half_the_batch_needs_alone(backend: str) -> None:
    alone = load(DATA / "hosts_h200_alone.json")
    together = load(DATA / f"hosts_h200_{backend}.json")
    half = {
        (row.config.batch_size * 2, row.config.rank): row.minimum_memory_bytes
        for row in alone.rows
        if row.success
    }
    compared = 0
    for row in together.rows:
        assert len(row.ranks) == 2
        assert row.all_sum_bytes
        share = row.communication_share
        assert share is not None
        assert 0 < share < 0.2
        expected = half.get((row.config.batch_size, row.config.rank))
        if expected is not None:
            compared += 1
            for rank in row.ranks:
                assert rank.minimum_memory_bytes == pytest.approx(expected, rel=0.001)
    assert compared == 4


def test_rows_of_one_process_have_no_keys_of_ranks() -> None:
    document = json.loads((DATA / "hosts_h200_alone.json").read_text())
    assert not any("ranks" in row for row in document["all_results"])
