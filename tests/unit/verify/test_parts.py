from __future__ import annotations

import pytest

from pytest_yourai.core.errors import WorkerError
from pytest_yourai.verify import judging
from pytest_yourai.verify.cases import cases
from pytest_yourai.verify.document import Line, Status
from pytest_yourai.verify.parts import judged


def refuse() -> list[Line]:
    raise WorkerError("mlx_lm.lora ended with 1: out of paper")


def test_a_part_that_breaks_off_fails_its_lines() -> None:
    lines = judged([judging.STEP_TIME, judging.PEAK], refuse)
    assert [line.name for line in lines] == ["step_time", "peak"]
    assert {line.status for line in lines} == {Status.FAILED}
    assert {line.note for line in lines} == {"mlx_lm.lora ended with 1: out of paper"}


def test_another_mistake_is_not_a_verdict() -> None:
    def wrong() -> list[Line]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judged([judging.PEAK], wrong)


def test_models_are_of_useful_size_on_a_gpu() -> None:
    for model in cases("metal").models:
        assert model.architecture["hidden_size"] >= 1024
        assert model.architecture["quantization"]["bits"] == 4
