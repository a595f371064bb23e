import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_yourai.store.compare.differences import are_of_one_machine, differences

from support.profiles import stored


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it["environment"].update(chip="X"), "two machines: chip .*, now X"),
        (lambda it: it["environment"].update(system_memory_bytes=8e9), None),
        (
            lambda it: it["environment"].update(system_memory_bytes=8_000_000_000),
            r"two machines: memory .*, now 8\.0 GB \(7 GiB\)",
        ),
        (
            lambda it: it["environment"]["versions"].update(mlx="9.9"),
            r"other versions: mlx 0\.\d+\.\d+, now 9\.9",
        ),
        (lambda it: it["environment"].update(system_memory_bytes=10**400), None),
        (lambda it: it["settings"].update(seed=7), "other settings: seed 0, now 7"),
        (
            lambda it: it["settings"].update(lora_keys=["a", "b"]),
            r"other settings: lora_keys .*, now a\+b",
        ),
        (
            lambda it: it["settings"].update(quantization={"bits": 8}),
            "other settings: quantization bits 4 .*, now bits 8 group_size 64 mode affine",
        ),
        (lambda it: it["settings"].update(grad_checkpoint=True), ".* grad_checkpoint off, now on"),
        (lambda it: it["settings"].update(matrix="other.yaml"), None),
        (
            lambda it: it["environment"].update(variables={"OMP_NUM_THREADS": "2"}),
            "other environment variables: OMP_NUM_THREADS not set, now 2",
        ),
        (
            lambda it: it["environment"].update(power_source="battery"),
            "other power: power_source none, now battery",
        ),
        (lambda it: it.update(memory_limit_gb=20), r"other budget: 110\.0 GB, now 20\.0 GB"),
        (lambda it: it.update(complete=False), "p.json is incomplete"),
    ],
)
def test_what_differs_is_shown(change: Callable[[dict[str, Any]], None], said: str | None) -> None:
    found = list(differences(stored(), stored(change)))
    if said is None:
        assert found == []
        return
    [text] = found
    assert re.match(said, text), text


def test_equal_runs_differ_in_nothing() -> None:
    assert list(differences(stored(), stored())) == []
    assert list(differences(stored(), stored(lambda it: it["settings"].update(new=False)))) == []


def test_versions_decide_about_no_machine() -> None:
    other = stored(lambda it: it["environment"]["versions"].update(mlx="9.9"))
    assert are_of_one_machine(stored(), other)
    assert not are_of_one_machine(stored(), stored(lambda it: it["environment"].update(chip="X")))


def test_what_records_nothing_about_itself_differs_in_nothing() -> None:
    silent = stored(lambda it: it.update(environment={}, settings={}))
    assert list(differences(stored(), silent)) == []
