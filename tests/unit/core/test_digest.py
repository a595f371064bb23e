import json

import pytest

from pytest_yourai.core.digest import has_changed, with_digest

DOCUMENT = {"scale": 20.0, "rate": 1e-05, "rows": [{"step_time_s": 0.0, "size": 1e300}], "n": 3}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(with_digest(DOCUMENT), sort_keys=True),
        # As JSON.stringify and jq write it.
        json.dumps(with_digest(DOCUMENT)).replace("20.0", "20").replace("1e-05", "0.00001"),
        json.dumps(with_digest(DOCUMENT)).replace(" 0.0,", " 0,").replace("1e+300", "1E300"),
    ],
)
def test_the_same_numbers_spelled_otherwise_are_no_change(text: str) -> None:
    assert not has_changed(json.loads(text))


@pytest.mark.parametrize(("old", "new"), [("20.0", "20.5"), ("20.0", "true"), ("20.0", '"20"')])
def test_another_value_is_a_change(old: str, new: str) -> None:
    assert has_changed(json.loads(json.dumps(with_digest(DOCUMENT)).replace(old, new)))
