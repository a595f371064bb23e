from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_yourai.core.errors import OptionError
from pytest_yourai.plan.flag_types import Flag
from pytest_yourai.plan.read_options import GivenTexts, read_verification_file


@dataclass(frozen=True)
class Given:
    """Flags as texts; of an output in an ini file `of` alone would tell."""

    texts: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/project")
    timeout_s: float = 0.0

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.texts)

    def of(self, flag: Flag) -> GivenTexts:
        texts = [self.texts.get(flag.name, "of-a-sweep.json")]
        return GivenTexts(texts, flag.option, self.folder)


def test_the_output_is_that_of_the_flag() -> None:
    assert read_verification_file(Given({"verify": "true", "output": "v.json"})) == Path(
        "/project/v.json"
    )
    assert read_verification_file(Given({"verify": "true"})) is None


def test_other_flags_are_refused() -> None:
    with pytest.raises(OptionError, match="--yourai-model: --yourai-verify brings what it"):
        read_verification_file(Given({"verify": "true", "model": "tiny"}))
