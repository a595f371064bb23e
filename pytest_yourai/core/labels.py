"""Names for the configurations of one sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_yourai.core.axes import VARIANTS, Axis
from pytest_yourai.core.config import LoraConfig
from pytest_yourai.core.redaction import redactor


@dataclass(frozen=True, slots=True)
class ConfigLabels:
    """Names configurations without the values that all of them share.

    `shared` maps the axes beside batch, rank and layers to those values; axes that vary are not
    in it.
    """

    shared: Mapping[str, Any]

    @classmethod
    def of(cls, configs: Iterable[LoraConfig]) -> ConfigLabels:
        """Labels for a sweep through `configs`."""
        configs = tuple(configs)
        shared: dict[str, Any] = {}
        for axis in VARIANTS:
            applying = [axis.of(config) for config in configs if axis.applies_to(config)]
            values = set(applying or map(axis.of, configs))
            if len(values) == 1:
                shared[axis.name] = values.pop()
        return cls(shared)

    @property
    def varying(self) -> tuple[Axis, ...]:
        """The axes that have several values, beside batch, rank and layers."""
        return tuple(axis for axis in VARIANTS if axis.name not in self.shared)

    def name(self, config: LoraConfig) -> str:
        """`batch=1, rank=8, layers=4`, and the axes not shared by all: `seq=512, checkpoint=on`."""
        differing = [
            axis
            for axis in VARIANTS
            if axis.applies_to(config)
            and (axis.name not in self.shared or axis.of(config) != self.shared[axis.name])
        ]
        extra = (f"{axis.label}={axis.text(config)}" for axis in differing)
        return ", ".join((str(config), *extra))


def on_or_off(is_on: bool) -> str:
    """The word for a switch: `on` or `off`."""
    return "on" if is_on else "off"


def id_name(name: str) -> str:
    """`name` as part of a test id: only characters that `-k` can match, and without secrets."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", redactor()(name)) or "model"


def number_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in short: `0, 2-4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
